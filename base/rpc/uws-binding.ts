import { createRequire } from 'node:module';

/** The parts of uWebSockets.js (v20) that the front door uses. */
export interface UwsBinding {
  App(): UwsApp;
  us_listen_socket_close(token: unknown): void;
  us_socket_local_port(token: unknown): number;
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  readonly DISABLED: number;
}

export interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp;
  ws(pattern: string, behavior: UwsBehavior): UwsApp;
  listen(host: string, port: number, options: number, listening: (token: unknown) => void): UwsApp;
  /** Ends every connection at once. */
  close(): void;
}

export interface UwsBehavior {
  readonly compression: number;
  readonly maxPayloadLength: number;
  readonly maxBackpressure: number;
  readonly idleTimeout: number;
  readonly sendPingsAutomatically: boolean;
  upgrade(response: UwsResponse, request: UwsRequest, context: unknown): void;
  open(socket: UwsSocket): void;
  /** `message` is detached when this returns. */
  message(socket: UwsSocket, message: ArrayBuffer, isBinary: boolean): void;
  drain(socket: UwsSocket): void;
  close(socket: UwsSocket, code: number, message: ArrayBuffer): void;
}

/** Must not be used once its close handler ran. */
export interface UwsSocket {
  getUserData(): object;
  /** 1 sent, 0 kept in the socket's own buffer, 2 dropped: the message is gone. */
  send(message: Uint8Array, isBinary: boolean, compress: boolean): number;
  cork(send: () => void): unknown;
  getBufferedAmount(): number;
  getRemoteAddressAsText(): ArrayBuffer;
  end(code: number, message: string): void;
  close(): void;
}

/** Only valid while the handler runs. */
export interface UwsRequest {
  getMethod(): string;
  getUrl(): string;
  getQuery(): string;
  getHeader(lowerCaseName: string): string;
  forEach(each: (name: string, value: string) => void): void;
}

export interface UwsResponse {
  cork(write: () => void): unknown;
  writeStatus(status: string): UwsResponse;
  writeHeader(name: string, value: string): UwsResponse;
  end(body: string | Uint8Array, closeConnection: boolean): UwsResponse;
  onData(handler: (piece: ArrayBuffer, isLast: boolean) => void): UwsResponse;
  onAborted(handler: () => void): UwsResponse;
  upgrade(userData: object, key: string, protocol: string, extensions: string, context: unknown): void;
}

/**
 * Loads the native library of whatever is installed as `uWebSockets.js`, or says why that failed. The library is loaded
 * itself, not the package's main file: where there is no binary for this Node, that of the aliased package prints to the
 * console and puts a slow stand-in of its own in its place.
 */
export function loadUws(): UwsBinding | Error {
  const require = createRequire(import.meta.url);
  const library = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
  let reason = new Error('uWebSockets.js is not installed');
  for (const folder of ['uWebSockets.js/binaries', 'uWebSockets.js']) {
    try {
      return require(`${folder}/${library}`) as UwsBinding;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') return error as Error;
      reason = new Error(`uWebSockets.js is not installed, or not built for this Node (${library})`);
    }
  }
  return reason;
}
