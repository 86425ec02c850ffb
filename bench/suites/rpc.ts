import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../../base/index.js';
import { connectPeer, nodeNetwork, type RpcPeer } from '../../base/rpc/index.js';
import { measure, type Suite, type SuiteContext, secondsOf, size } from '../harness.js';
import { type Peer, startProcess } from '../peer.js';
import { RPC_TOKEN } from '../rpc-token.js';

const REQUEST_BYTES = 64;
const IN_FLIGHT_MAX = 256;
const NOTICE_BYTES = 64 * 1024;
const QUEUED_BYTES_MAX = 2 * 2 ** 20;

/** Between this process and another; beside it the same bytes over a bare socket of the same kind. */
export const rpc: Suite = {
  name: 'rpc',
  async run(context) {
    for (const transport of ['unix', 'uws', 'node'] as const) await measureTransport(context, transport);
  },
};

async function measureTransport(context: SuiteContext, transport: 'unix' | 'uws' | 'node'): Promise<void> {
  const server = startProcess(new URL('../peers/rpc-peer.js', import.meta.url));
  const bareServer = startProcess(new URL('../peers/net-peer.js', import.meta.url));
  const clock = systemClock();
  const path = (name: string) => join(context.folder, `${transport}-${name}.sock`);
  let address: string;
  try {
    address = await server.call('listen', { transport, path: path('rpc') });
  } catch (thrown) {
    await Promise.all([server.stop(), bareServer.stop()]);
    if (transport !== 'uws') throw thrown;
    context.progress(`rpc over uWebSockets.js left out: ${(thrown as Error).message}`);
    return;
  }
  const peer = await connectPeer(nodeNetwork({ clock }), address, { token: RPC_TOKEN, role: 'bench', clock });
  const bare = (kind: 'echo' | 'count') => dial(bareServer, kind, transport === 'unix' ? path(kind) : '');
  const echo = await bare('echo');
  const count = await bare('count');
  try {
    const requests = size(context, 40_000, 200);
    const notices = size(context, 8_000, 50);
    const limitName = `bare net socket, ${transport === 'unix' ? 'unix' : 'tcp'}`;
    const name = transport === 'node' ? 'ws' : transport;
    const perSecond = (amount: number, run: () => Promise<void>) => async () => amount / (await secondsOf(run));
    if (!context.quick) {
      await pipeline(peer, requests);
      await pipelineBare(echo, requests);
    }
    await measure(
      context,
      { name: `rpc.requests.${name}`, unit: 'requests/s', limitName },
      perSecond(requests, () => pipeline(peer, requests)),
      perSecond(requests, () => pipelineBare(echo, requests)),
    );
    const megabytes = (notices * NOTICE_BYTES) / 1e6;
    await measure(
      context,
      { name: `rpc.notices.${name}`, unit: 'MB/s', limitName },
      perSecond(megabytes, () => notify(peer, notices)),
      perSecond(megabytes, () => stream(count, notices)),
    );
  } finally {
    echo.destroy();
    count.destroy();
    peer.close();
    await Promise.all([server.stop(), bareServer.stop()]);
  }
}

async function dial(server: Peer, kind: 'echo' | 'count', path: string): Promise<Socket> {
  const address = await server.call<string | number>('listen', { kind, path });
  return new Promise((resolve, reject) => {
    const socket = typeof address === 'number' ? connect(address, '127.0.0.1') : connect(address);
    socket.setNoDelay(true);
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

/** Requests of 64 bytes, answered with the same, up to 256 under way. */
function pipeline(peer: RpcPeer, requests: number): Promise<void> {
  const body = new Uint8Array(REQUEST_BYTES);
  let sent = 0;
  let answered = 0;
  return new Promise((resolve, reject) => {
    const onAnswer = () => {
      answered++;
      if (answered === requests) resolve();
      else fill();
    };
    const fill = () => {
      while (sent < requests && sent - answered < IN_FLIGHT_MAX) {
        sent++;
        peer.request('echo', body).then(onAnswer, reject);
      }
    };
    fill();
  });
}

/** One write a request, as above; whole answers are counted by their bytes. */
function pipelineBare(socket: Socket, requests: number): Promise<void> {
  const body = new Uint8Array(REQUEST_BYTES);
  let sent = 0;
  let received = 0;
  return new Promise((resolve) => {
    const fill = () => {
      while (sent < requests && sent - Math.floor(received / REQUEST_BYTES) < IN_FLIGHT_MAX) {
        sent++;
        socket.write(body);
      }
    };
    const onData = (chunk: Buffer) => {
      received += chunk.length;
      if (received < requests * REQUEST_BYTES) return fill();
      socket.off('data', onData);
      resolve();
    };
    socket.on('data', onData);
    fill();
  });
}

/** Until the other side has them all. */
async function notify(peer: RpcPeer, notices: number): Promise<void> {
  const body = new Uint8Array(NOTICE_BYTES).fill(7);
  for (let i = 0; i < notices; i++) {
    peer.notify('note', body);
    while (peer.queuedBytes > QUEUED_BYTES_MAX) await new Promise((resolve) => setImmediate(resolve));
  }
  await peer.request('bytes', new Uint8Array(0));
}

async function stream(socket: Socket, notices: number): Promise<void> {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(notices * NOTICE_BYTES);
  const arrived = new Promise((resolve) => socket.once('data', resolve));
  socket.write(head);
  const body = new Uint8Array(NOTICE_BYTES).fill(7);
  for (let i = 0; i < notices; i++) {
    socket.write(body);
    while (socket.writableLength > QUEUED_BYTES_MAX) await new Promise((resolve) => setImmediate(resolve));
  }
  await arrived;
}
