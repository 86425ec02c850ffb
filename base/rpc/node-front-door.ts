import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Connection, FRAME_BYTES_MAX } from '../network.js';
import { addressInUse, listenFailed } from './connection-errors.js';
import { type FrontDoor, type FrontDoorOptions, hostPort, LOOPBACK, PORT_IN_USE_ADVICE } from './front-door.js';
import type { HttpRequestHead } from './http-route.js';
import { HttpRouter } from './http-router.js';
import { WsConnection } from './ws-connection.js';

const HEAD_TIMEOUT_MS = 10_000;

/** The front door on node:http and `ws`: runs wherever Node does. */
export async function openNodeFrontDoor(options: FrontDoorOptions): Promise<FrontDoor> {
  const { WebSocketServer } = await import('ws');
  const host = options.host ?? LOOPBACK;
  const router = new HttpRouter(options);
  const acceptors = new Map<string, (connection: Connection) => void>();
  const connections = new Set<Connection>();
  const webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: FRAME_BYTES_MAX });
  const server = createServer((request, response) => serveHttp(router, request, response));
  server.headersTimeout = HEAD_TIMEOUT_MS;
  server.requestTimeout = 0; // bodies have their own limit, see HttpRouter
  server.on('upgrade', (request, stream, head) => {
    const socket = stream as Socket;
    socket.on('error', () => undefined);
    const acceptor = acceptors.get(headOf(request).path);
    if (acceptor === undefined) {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (ws) => {
      socket.setNoDelay(true);
      const connection = new WsConnection(ws, socket, `ws client ${socket.remoteAddress}`, options.clock);
      connections.add(connection);
      ws.once('close', () => connections.delete(connection));
      acceptor(connection);
    });
  });
  await listen(server, host, options.port);
  const { port } = server.address() as AddressInfo;
  return {
    implementation: 'node',
    host,
    port,
    address: `http://${hostPort(host, port)}`,
    webSocketAddress: (path) => `ws://${hostPort(host, port)}${path}`,
    route: (method, path, handler, routeOptions) => router.add(method, path, handler, routeOptions),
    onConnection: (path, onConnection) => void acceptors.set(path, onConnection),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const connection of connections) connection.close();
      }),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const at = hostPort(host, port);
      reject(error.code === 'EADDRINUSE' ? addressInUse(at, PORT_IN_USE_ADVICE) : listenFailed(at, error));
    });
    server.listen({ host, port, exclusive: true }, resolve);
  });
}

function headOf(request: IncomingMessage): HttpRequestHead {
  const [path = '/', query = ''] = (request.url ?? '/').split(/\?(.*)/s, 2);
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(request.headers)) headers.set(name, String(value));
  return { method: request.method ?? 'GET', path, query: new URLSearchParams(query), headers };
}

function serveHttp(router: HttpRouter, request: IncomingMessage, response: ServerResponse): void {
  request.on('error', () => undefined);
  response.on('error', () => undefined);
  router.handle({
    head: headOf(request),
    readBody(data, end) {
      request.on('data', data);
      request.on('end', end);
    },
    respond({ status, contentType, body }, last) {
      const bytes = typeof body === 'string' ? Buffer.from(body) : body;
      response.writeHead(status, {
        'content-type': contentType,
        'content-length': bytes.length,
        ...(last ? { connection: 'close' } : {}),
      });
      // A refused body may still be on its way: the answer must be out before its connection is cut.
      response.end(bytes, () => {
        if (last && !request.complete) request.socket.destroySoon();
      });
    },
  });
}
