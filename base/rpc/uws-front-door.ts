import { STATUS_CODES } from 'node:http';
import { createServer } from 'node:net';
import { MillraceError } from '../errors.js';
import { type Connection, FRAME_BYTES_MAX } from '../network.js';
import { addressInUse, listenFailed } from './connection-errors.js';
import { type FrontDoor, type FrontDoorOptions, hostPort, LOOPBACK, PORT_IN_USE_ADVICE } from './front-door.js';
import type { HttpRequestHead } from './http-route.js';
import { HttpRouter } from './http-router.js';
import {
  loadUws,
  type UwsApp,
  type UwsBinding,
  type UwsRequest,
  type UwsResponse,
  type UwsSocket,
} from './uws-binding.js';
import { MAX_BACKPRESSURE, UwsConnection } from './uws-connection.js';

const IDLE_TIMEOUT_SECONDS = 120;

/** What a WebSocket carries from its upgrade to its close. */
interface SocketState {
  readonly acceptor: (connection: Connection) => void;
  connection: UwsConnection | undefined;
}

/**
 * The front door on uWebSockets.js.
 * @throws MillraceError `UWS_UNAVAILABLE` (unavailable) where its library does not load, `ADDRESS_IN_USE`,
 *   `LISTEN_FAILED` (invalid).
 */
export async function openUwsFrontDoor(options: FrontDoorOptions): Promise<FrontDoor> {
  const uws = loadUws();
  if (uws instanceof Error) {
    throw new MillraceError('unavailable', 'UWS_UNAVAILABLE', `uWebSockets.js cannot be used: ${uws.message}`, {
      cause: uws,
    });
  }
  const host = options.host ?? LOOPBACK;
  const router = new HttpRouter(options);
  const acceptors = new Map<string, (connection: Connection) => void>();
  const connections = new Set<UwsConnection>();
  let onLastClosed: () => void = () => undefined;
  const app = uws.App();
  serveWebSockets(app, uws, options, acceptors, connections, () => onLastClosed());
  app.any('/*', (response, request) => serveHttp(router, response, request));
  const token = await listen(app, uws, host, options.port);
  const port = uws.us_socket_local_port(token);
  let closed: Promise<void> | undefined;
  return {
    implementation: 'uws',
    host,
    port,
    address: `http://${hostPort(host, port)}`,
    webSocketAddress: (path) => `ws://${hostPort(host, port)}${path}`,
    route: (method, path, handler, routeOptions) => router.add(method, path, handler, routeOptions),
    onConnection: (path, onConnection) => void acceptors.set(path, onConnection),
    close() {
      closed ??= new Promise<void>((resolve) => {
        uws.us_listen_socket_close(token);
        onLastClosed = () => {
          if (connections.size === 0) resolve();
        };
        for (const connection of [...connections]) connection.close();
        onLastClosed();
      }).then(() => app.close());
      return closed;
    },
  };
}

function serveWebSockets(
  app: UwsApp,
  uws: UwsBinding,
  options: FrontDoorOptions,
  acceptors: ReadonlyMap<string, (connection: Connection) => void>,
  connections: Set<UwsConnection>,
  onClosed: () => void,
): void {
  const stateOf = (socket: UwsSocket) => socket.getUserData() as SocketState;
  app.ws('/*', {
    compression: uws.DISABLED,
    maxPayloadLength: FRAME_BYTES_MAX,
    maxBackpressure: MAX_BACKPRESSURE,
    idleTimeout: IDLE_TIMEOUT_SECONDS,
    sendPingsAutomatically: true,
    upgrade(response, request, context) {
      const acceptor = acceptors.get(request.getUrl());
      if (acceptor === undefined) {
        response.writeStatus('404 Not Found').end('', true);
        return;
      }
      const state: SocketState = { acceptor, connection: undefined };
      const header = (name: string) => request.getHeader(`sec-websocket-${name}`);
      response.upgrade(state, header('key'), header('protocol'), header('extensions'), context);
    },
    open(socket) {
      const from = Buffer.from(socket.getRemoteAddressAsText()).toString();
      const state = stateOf(socket);
      state.connection = new UwsConnection(socket, `ws client ${from}`, options.clock);
      connections.add(state.connection);
      state.acceptor(state.connection);
    },
    message: (socket, message, isBinary) => stateOf(socket).connection?.received(message, isBinary),
    drain: (socket) => stateOf(socket).connection?.drained(),
    close(socket, code, message) {
      const { connection } = stateOf(socket);
      if (connection === undefined) return;
      connections.delete(connection);
      connection.ended(code, Buffer.from(message).toString());
      onClosed();
    },
  });
}

function listen(app: UwsApp, uws: UwsBinding, host: string, port: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    // Exclusive, because uWebSockets.js otherwise shares a port silently (SO_REUSEPORT).
    app.listen(host, port, uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (token) => {
      if (token) resolve(token);
      else explainFailure(host, port).then(reject);
    });
  });
}

/** uWebSockets.js does not say why it cannot listen; the operating system tells node:net. */
function explainFailure(host: string, port: number): Promise<MillraceError> {
  const at = hostPort(host, port);
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EADDRINUSE' ? addressInUse(at, PORT_IN_USE_ADVICE) : listenFailed(at, error));
    });
    probe.listen({ host, port, exclusive: true }, () => {
      probe.close(() => resolve(listenFailed(at, 'uWebSockets.js could not bind it')));
    });
  });
}

function serveHttp(router: HttpRouter, response: UwsResponse, request: UwsRequest): void {
  let gone = false;
  response.onAborted(() => {
    gone = true;
  });
  const headers = new Map<string, string>();
  request.forEach((name, value) => void headers.set(name, value));
  const query = new URLSearchParams(request.getQuery() ?? '');
  const head: HttpRequestHead = { method: request.getMethod().toUpperCase(), path: request.getUrl(), query, headers };
  router.handle({
    head,
    readBody(data, end) {
      response.onData((piece, isLast) => {
        data(new Uint8Array(piece));
        if (isLast) end();
      });
    },
    respond({ status, contentType, body }, last) {
      if (gone) return;
      gone = true;
      response.cork(() => {
        response.writeStatus(`${status} ${STATUS_CODES[status] ?? ''}`).writeHeader('content-type', contentType);
        response.end(body, last);
      });
    },
  });
}
