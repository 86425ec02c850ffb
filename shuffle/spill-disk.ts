/**
 * One folder on one disk, under deadlines. A disk that fails or hangs is *set aside*: named once, never used again by
 * this process, its failure told at once to all who wait for it. Not failures: a full disk, a file that is not there or
 * is there already; those are the caller's to judge.
 *
 * A call that hangs in the kernel holds a thread of Node's pool (4 unless UV_THREADPOOL_SIZE says otherwise) for as long
 * as it hangs. So only `CALLS_MAX` are under way at a time, and a hung disk leaves threads to the others.
 */
import { type Clock, type Disk, MillraceError, type Timer } from '../base/index.js';

const CALLS_MAX = 2;

export interface SpillDiskOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly clock: Clock;
  readonly deadlineMs: number;
  /** Called once, with the reason, when the disk is set aside. */
  readonly onSetAside: (folder: string, reason: string) => void;
}

interface Call {
  readonly start: () => void;
  readonly reject: (error: unknown) => void;
  timer?: Timer;
}

export class SpillDisk {
  readonly folder: string;
  /** Bytes of the regions here. */
  bytes = 0;
  /** Bytes of the regions being written. */
  bytesComing = 0;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #onSetAside: (folder: string, reason: string) => void;
  readonly #queue: Call[] = [];
  readonly #running = new Set<Call>();
  #reason: string | undefined;

  constructor(options: SpillDiskOptions) {
    this.folder = options.folder;
    this.#disk = options.disk;
    this.#clock = options.clock;
    this.#deadlineMs = options.deadlineMs;
    this.#onSetAside = options.onSetAside;
  }

  /** Why the disk was set aside, or undefined while it is in use. */
  get setAside(): string | undefined {
    return this.#reason;
  }

  path(name: string): string {
    return `${this.folder}/${name}`;
  }

  /**
   * One call on this disk. @throws what the call threw if that is `DISK_FULL`, `DISK_NOT_FOUND` or `DISK_EXISTS`;
   * `SPILL_DISK_SET_ASIDE` (unavailable) when it failed otherwise, took longer than the deadline, or another one did.
   */
  call<T>(what: string, call: (disk: Disk) => Promise<T>): Promise<T> {
    if (this.#reason !== undefined) return Promise.reject(this.#error(this.#reason));
    return new Promise<T>((resolve, reject) => {
      const waiting: Call = { start: () => this.#start(what, call, waiting, resolve), reject };
      if (this.#running.size < CALLS_MAX) waiting.start();
      else this.#queue.push(waiting);
    });
  }

  #start<T>(what: string, call: (disk: Disk) => Promise<T>, running: Call, resolve: (value: T) => void): void {
    this.#running.add(running);
    const late = () => this.fail(`${what} took longer than ${this.#deadlineMs} ms`);
    running.timer = this.#clock.schedule(this.#deadlineMs, late);
    call(this.#disk).then(
      (value) => {
        if (!this.#end(running)) return;
        resolve(value);
      },
      (thrown) => {
        const error = MillraceError.from(thrown);
        if (!HARMLESS.has(error.code)) this.fail(`${what} failed: ${error.message}`);
        if (this.#end(running)) running.reject(error);
      },
    );
  }

  /** False when the disk was set aside meanwhile: then the caller was told already. */
  #end(call: Call): boolean {
    if (!this.#running.delete(call)) return false;
    call.timer?.cancel();
    this.#queue.shift()?.start();
    return true;
  }

  /** Sets the disk aside, unless it was before. */
  fail(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const error = this.#error(reason);
    const waiting = [...this.#running, ...this.#queue];
    this.#running.clear();
    this.#queue.length = 0;
    this.#onSetAside(this.folder, reason);
    for (const { timer, reject } of waiting) {
      timer?.cancel();
      reject(error);
    }
  }

  /** Runs `call` unless the disk was set aside; whatever fails in it is the disk's fault, and the caller goes on. */
  async orSetAside(call: (disk: this) => Promise<void>): Promise<void> {
    if (this.#reason !== undefined) return;
    try {
      await call(this);
    } catch (e) {
      this.fail(MillraceError.from(e).message);
    }
  }

  #error(reason: string): MillraceError {
    const message = `spill folder ${this.folder} was set aside: ${reason}`;
    return new MillraceError('unavailable', 'SPILL_DISK_SET_ASIDE', message, { context: { folder: this.folder } });
  }
}

const HARMLESS = new Set(['DISK_FULL', 'DISK_NOT_FOUND', 'DISK_EXISTS']);
