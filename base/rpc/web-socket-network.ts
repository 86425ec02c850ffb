import { connect as connectTcp, type Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Clock } from '../clock.js';
import { type Connection, FRAME_BYTES_MAX, type Network } from '../network.js';
import { addressInvalid, connectFailed } from './connection-errors.js';
import { WsConnection } from './ws-connection.js';

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * `ws://host:port/path` to a front door: one binary message is one frame. Listening is the front door's
 * (`FrontDoor.onConnection`), because it shares the port with HTTP.
 */
export function webSocketNetwork(options: { readonly clock: Clock }): Network {
  return {
    connect: (address) => connect(address, options.clock),
    async listen(address) {
      throw addressInvalid(address, 'WebSocket connections are accepted by the front door');
    },
  };
}

async function connect(address: string, clock: Clock): Promise<Connection> {
  // Loaded by who connects this way: few processes do.
  const { WebSocket: Client } = await import('ws');
  return new Promise((resolve, reject) => {
    let socket: Socket | undefined;
    let client: WebSocket;
    try {
      client = new Client(address, {
        perMessageDeflate: false,
        maxPayload: FRAME_BYTES_MAX,
        handshakeTimeout: CONNECT_TIMEOUT_MS,
        // Masking protects careless proxies from scripts in browsers (RFC 6455, 10.3); here it would cost a copy and
        // two thirds of the rate. A zero key is a valid key.
        generateMask: (key) => key.fill(0),
        createConnection: ((target: { host: string; port: number }) => {
          socket = connectTcp({ host: target.host, port: target.port, noDelay: true });
          return socket;
        }) as never,
      });
    } catch (error) {
      reject(addressInvalid(address, (error as Error).message));
      return;
    }
    const onError = (error: Error) => reject(connectFailed(address, error.message, error));
    client.once('error', onError);
    client.once('open', () => {
      client.off('error', onError);
      resolve(new WsConnection(client, socket as Socket, address, clock));
    });
  });
}
