import { Socket } from 'node:net';
import { MillraceError } from './errors.js';

/**
 * A child's side of `nodeProcessControl`. The parent holds the other end of a socket (its descriptor number is in the
 * environment): one line of JSON comes in, one newline goes back as "I have it", and then the socket only has to stay
 * open. The operating system closes it when the parent dies, however it dies, and so the child knows.
 */
export const PARENT_FD_VARIABLE = 'MILLRACE_PARENT_FD';

/** A process has one parent, so there is one link. */
let link: ParentLink | undefined;

function parentLink(): ParentLink {
  link ??= new ParentLink();
  return link;
}

/**
 * The settings this process was spawned with. Parents wait for this: call it once everything is imported.
 * @throws MillraceError `NOT_SPAWNED` (invalid) when Millrace did not start this process, `PARENT_GONE` (closed).
 */
export function readSettings(): Promise<unknown> {
  return parentLink().settings;
}

/** Calls `fn` once when the parent is gone, whatever it died of; at once when it is gone already. Keeps nothing alive. */
export function onParentGone(fn: () => void): void {
  parentLink().gone.then(fn);
}

class ParentLink {
  readonly settings: Promise<unknown>;
  readonly gone: Promise<void>;

  constructor() {
    const fd = Number(process.env[PARENT_FD_VARIABLE]);
    // Children of this process are not children of the parent.
    delete process.env[PARENT_FD_VARIABLE];
    if (!Number.isInteger(fd) || fd < 3) {
      throw new MillraceError('invalid', 'NOT_SPAWNED', 'this process is started by millrace, not by hand');
    }
    const socket = new Socket({ fd, readable: true, writable: true });
    this.gone = new Promise((resolve) => {
      socket.once('close', () => resolve());
    });
    // An error is followed by 'close', which tells all there is to tell.
    socket.on('error', () => {});
    this.settings = this.#receive(socket);
    this.settings.catch(() => {});
  }

  #receive(socket: Socket): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      const onData = (chunk: Buffer) => {
        chunks.push(chunk);
        if (chunk.at(-1) !== 0x0a) return;
        socket.off('data', onData);
        socket.resume();
        socket.unref();
        socket.write('\n');
        resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
      };
      socket.on('data', onData);
      this.gone.then(() =>
        reject(new MillraceError('closed', 'PARENT_GONE', 'the process that started this one is gone')),
      );
    });
  }
}
