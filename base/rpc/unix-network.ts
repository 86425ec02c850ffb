import { chmod, lstat, unlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../clock.js';
import type { Connection, Listener, Network } from '../network.js';
import { addressInUse, addressInvalid, connectFailed, listenFailed } from './connection-errors.js';
import { acceptedSocket, connectSocket, type SocketReads } from './scratch-socket.js';
import { SocketConnection } from './socket-connection.js';

const PATH_BYTES_MAX = 107;

/**
 * `unix:/path/to.sock`. A socket file that nobody answers on (its process was killed) is replaced; one that answers is
 * `ADDRESS_IN_USE`; anything else at that path is never touched. The socket is for its owner only (mode 0600).
 */
export function unixNetwork(options: { readonly clock: Clock }): Network {
  return {
    connect: (address) => connect(address, options.clock),
    listen: (address, onConnection) => listen(address, onConnection, options.clock),
  };
}

/** @throws MillraceError `ADDRESS_INVALID` (invalid): node would cut the path silently and use another file. */
function socketPath(address: string): string {
  const path = address.slice('unix:'.length);
  const bytes = Buffer.byteLength(path);
  if (bytes === 0 || path.includes('\0')) throw addressInvalid(address, 'it names no file');
  if (bytes > PATH_BYTES_MAX) {
    throw addressInvalid(
      address,
      `a socket path has at most ${PATH_BYTES_MAX} bytes, this one has ${bytes}: choose a shorter folder`,
    );
  }
  return path;
}

async function connect(address: string, clock: Clock): Promise<Connection> {
  const { socket, reads } = await dial(address, socketPath(address));
  return new SocketConnection(socket, reads, address, clock);
}

function dial(address: string, path: string): Promise<{ readonly socket: Socket; readonly reads: SocketReads }> {
  return new Promise((resolve, reject) => {
    const { socket, reads } = connectSocket(path);
    const onError = (error: Error) => reject(connectFailed(address, error.message, error));
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      resolve({ socket, reads });
    });
  });
}

async function listen(
  address: string,
  onConnection: (connection: Connection) => void,
  clock: Clock,
): Promise<Listener> {
  const path = socketPath(address);
  const server = createServer({ pauseOnConnect: true }, (accepted) => {
    const { socket, reads } = acceptedSocket(accepted);
    onConnection(new SocketConnection(socket, reads, `a client of ${address}`, clock));
  });
  try {
    await bind(server, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw listenFailed(address, error);
    await removeStale(address, path);
    await bind(server, path).catch((again) => {
      throw addressInUse(address, again.message);
    });
  }
  await chmod(path, 0o600);
  return { address, close: () => closeServer(server) };
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function removeStale(address: string, path: string): Promise<void> {
  const entry = await lstat(path).catch(() => undefined);
  if (entry === undefined) return;
  if (!entry.isSocket()) throw addressInUse(address, 'there is a file at that path that is not a socket');
  const answered = await dial(address, path).catch(() => undefined);
  if (answered !== undefined) {
    answered.socket.destroy();
    throw addressInUse(address, 'another process answers there; stop it or choose another path');
  }
  await unlink(path).catch(() => undefined);
}

/** Stops accepting and removes the file. Connections that exist stay. */
function closeServer(server: Server): Promise<void> {
  server.close();
  return Promise.resolve();
}
