import { type Connection, silentLogger, systemClock } from '../../base/index.js';
import { acceptPeer, nodeNetwork, openFrontDoor } from '../../base/rpc/index.js';
import { servePeer } from '../peer.js';
import { RPC_TOKEN } from '../rpc-token.js';

/** The serving side of an RPC connection, in a process of its own. */
const clock = systemClock();

servePeer({
  /** A Unix socket at `path`, or a front door on a free port; resolves with the address. */
  async listen({ transport, path }: { transport: 'unix' | 'uws' | 'node'; path: string }): Promise<string> {
    if (transport === 'unix') return (await nodeNetwork({ clock }).listen(`unix:${path}`, accept)).address;
    const door = await openFrontDoor({ port: 0, clock, logger: silentLogger(), implementation: transport });
    door.onConnection('/bench', accept);
    return door.webSocketAddress('/bench');
  },
});

async function accept(connection: Connection): Promise<void> {
  const peer = await acceptPeer(connection, { token: RPC_TOKEN, role: 'bench server', clock });
  let bytes = 0;
  peer.serve('echo', (body) => body);
  peer.serve('note', (body) => {
    bytes += body.length;
    return undefined;
  });
  peer.serve('bytes', () => new Uint8Array(Float64Array.of(bytes).buffer));
}
