import { connect, createServer, type Server, type Socket } from 'node:net';
import { servePeer } from '../peer.js';

/**
 * Bare sockets, the limit of whatever travels over them. An address is a socket path, or '' for a free port of the
 * loopback. A relay pipes the connection that says 'p' first into the one that says 'c'.
 */
const servers: Server[] = [];

servePeer({
  async listen({ kind, path }: { kind: 'echo' | 'count' | 'relay'; path: string }): Promise<string | number> {
    const server = createServer(
      { noDelay: true },
      kind === 'echo' ? (socket) => socket.pipe(socket) : kind === 'count' ? count : relay(),
    );
    servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      if (path === '') server.listen(0, '127.0.0.1', resolve);
      else server.listen(path, resolve);
    });
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : path;
  },
  /** Sends `bytes` bytes in buffers of `bufferBytes`, as fast as the socket takes them. */
  async send({ path, bytes, bufferBytes }: { path: string; bytes: number; bufferBytes: number }): Promise<void> {
    const socket = await dial(path);
    socket.write('p');
    const buffer = new Uint8Array(bufferBytes).fill(7);
    for (let sent = 0; sent < bytes; sent += bufferBytes) {
      if (!socket.write(buffer)) await new Promise((resolve) => socket.once('drain', resolve));
    }
    socket.end();
  },
  async receive({ path, bytes }: { path: string; bytes: number }): Promise<void> {
    const socket = await dial(path);
    socket.write('c');
    let received = 0;
    await new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        received += chunk.length;
        if (received >= bytes) resolve();
      });
    });
    socket.destroy();
  },
});

function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

/** Answers one byte for the four bytes that say how many are to come, once they have come. */
function count(socket: Socket): void {
  let wanted: number | undefined;
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
    if (wanted === undefined) {
      wanted = chunk.readUInt32LE(0);
      received -= 4;
    }
    if (received < wanted) return;
    wanted = undefined;
    received = 0;
    socket.write('.');
  });
}

function relay(): (socket: Socket) => void {
  let consumer: Socket | undefined;
  let producer: Socket | undefined;
  return (socket) => {
    socket.once('data', (first) => {
      socket.pause();
      if (first[0] === 'c'.charCodeAt(0)) consumer = socket;
      else {
        producer = socket;
        if (first.length > 1) socket.unshift(first.subarray(1));
      }
      if (consumer === undefined || producer === undefined) return;
      producer.pipe(consumer);
      consumer = undefined;
      producer = undefined;
    });
  };
}
