import { createConnection, type OnReadOpts, Socket } from 'node:net';

/** What a socket reads goes here, as a view that is valid until the call returns. */
export interface SocketReads {
  onRead: (chunk: Uint8Array) => void;
}

/**
 * One for all sockets of the thread: what is read is copied out before the next read. Otherwise node allocates 64 KiB
 * outside the heap for each read, and every 32 MB of that make a full collection: a third of the time of a daemon
 * through which buffers flow.
 */
const scratch = Buffer.allocUnsafeSlow(256 * 1024);

/** A socket that is being connected; nothing is read before `onRead` is replaced in the turn of its `connect` event. */
export function connectSocket(path: string): { readonly socket: Socket; readonly reads: SocketReads } {
  const { reads, onread } = scratchReads();
  return { socket: createConnection({ path, onread }), reads };
}

/**
 * The socket of a server made with `pauseOnConnect`. Only the constructor of a socket takes `onread`, and a server
 * constructs its sockets itself: so its handle moves to another one.
 */
export function acceptedSocket(accepted: Socket): { readonly socket: Socket; readonly reads: SocketReads } {
  const { reads, onread } = scratchReads();
  const owner = accepted as unknown as { _handle: object | null };
  const handle = owner._handle;
  if (typeof (handle as { useUserBuffer?: unknown } | null)?.useUserBuffer !== 'function') {
    accepted.on('data', (chunk) => reads.onRead(chunk));
    return { socket: accepted, reads };
  }
  owner._handle = null;
  const options = { handle, onread, readable: true, writable: true };
  return { socket: new Socket(options as ConstructorParameters<typeof Socket>[0]), reads };
}

function scratchReads(): { readonly reads: SocketReads; readonly onread: OnReadOpts } {
  const reads: SocketReads = { onRead: () => undefined };
  const callback = (bytes: number, buffer: Uint8Array) => {
    reads.onRead(buffer.subarray(0, bytes));
    return true;
  };
  return { reads, onread: { buffer: scratch, callback } };
}
