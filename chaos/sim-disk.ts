/**
 * The disk of one simulated host. A call has two events: the kernel carries it out (whether or not the caller still
 * lives), then the caller is told (only if it does). A call in flight when its caller is killed is carried out wholly,
 * partly (a prefix of the bytes) or not at all, as the seed says. The page cache survives a killed process; a power cut
 * takes what was not synced (`sim-file-system.ts`).
 *
 * Bytes passed to `write` and `append` must not change before the promise settles: that is checked, as the real disk
 * reads them at an unknown moment. So is that calls on one open file do not overlap.
 */
import { type Disk, type DiskFile, MillraceError, type Random } from '../base/index.js';
import type { SimClock } from './sim-clock.js';
import { failed, folderOf, full, type SimFile, SimFileSystem } from './sim-file-system.js';
import type { SimThread } from './sim-thread.js';

export interface SimDiskFaults {
  /** Share of calls that fail with DISK_FAILED and do nothing (a write: any prefix of it). */
  errorRate: number;
  /** Share of syncs that fail. */
  syncErrorRate: number;
  /** Every write fails with DISK_FULL while set. */
  full: boolean;
  /** Factor on every delay. */
  slowdown: number;
}

export interface SimDiskOptions {
  readonly capacityBytes?: number;
  /** How long a call takes, in ms: uniform between the two. */
  readonly callMs?: readonly [number, number];
  readonly syncMs?: readonly [number, number];
}

/** One call: `whole` carries it out and gives the answer; `torn` is what a killed caller's call may leave behind. */
export interface DiskCall<T> {
  readonly label: string;
  readonly path: string;
  readonly sync: boolean;
  readonly whole: () => T;
  readonly torn?: () => void;
  /** What an I/O error leaves behind while the caller lives; as torn where it is not given. */
  readonly spoilt?: () => void;
  readonly bytes?: Uint8Array;
}

export class SimHostDisk {
  readonly faults: SimDiskFaults = { errorRate: 0, syncErrorRate: 0, full: false, slowdown: 1 };
  /** What all calls below a folder meet: they are never answered (nor carried out), or fail. */
  readonly folderFaults = new Map<string, 'hang' | 'fail'>();
  readonly files: SimFileSystem;
  readonly #clock: SimClock;
  readonly #random: Random;
  readonly #callMs: readonly [number, number];
  readonly #syncMs: readonly [number, number];
  readonly #powerCuts: (() => void)[] = [];
  /** Calls not yet carried out, with how to end them when their caller dies or the host loses power. */
  readonly #inFlight = new Map<object, { readonly thread: SimThread; readonly interrupt: () => void }>();

  constructor(clock: SimClock, random: Random, options: SimDiskOptions = {}) {
    this.#clock = clock;
    this.#random = random;
    this.files = new SimFileSystem(options.capacityBytes);
    this.#callMs = options.callMs ?? [0.02, 0.5];
    this.#syncMs = options.syncMs ?? [0.1, 4];
  }

  /** The view of one thread. */
  of(thread: SimThread): Disk {
    thread.onDeath(() => this.#interrupt(thread));
    return new SimDisk(this, thread);
  }

  /** Everything in flight stops, what was not synced may be lost. Kill the host's processes first. */
  powerCut(): void {
    for (const { interrupt } of [...this.#inFlight.values()]) interrupt();
    this.files.powerCut(this.#random);
    for (const fn of this.#powerCuts) fn();
  }

  /** `fn` is called after each, for what lies beside the files. */
  onPowerCut(fn: () => void): void {
    this.#powerCuts.push(fn);
  }

  /** @internal A call that takes no time, in the midst of its caller's event: it cannot hang, and so fails. */
  atOnce<T>(path: string, run: () => T): T {
    if (this.#folderFault(path) !== undefined) throw failed(path, 'simulated I/O error');
    if (this.faults.errorRate > 0 && this.#random.chance(this.faults.errorRate)) {
      throw failed(path, 'simulated I/O error');
    }
    return run();
  }

  /** @internal Runs one call for a thread. */
  call<T>(thread: SimThread, call: DiskCall<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!thread.alive || this.#folderFault(call.path) === 'hang') return;
      const [min, max] = call.sync ? this.#syncMs : this.#callMs;
      const totalMs = (min + this.#random.float() * (max - min)) * this.faults.slowdown;
      const effectMs = totalMs * this.#random.float();
      const before = call.bytes === undefined ? undefined : new Uint8Array(call.bytes);
      const effect = this.#clock.at(
        effectMs,
        call.label,
        () => {
          this.#inFlight.delete(effect);
          const answer = this.#carryOut(call);
          this.#clock.on(thread, totalMs - effectMs, `${call.label}.done`, () => {
            if (before !== undefined && call.bytes !== undefined && Buffer.compare(before, call.bytes) !== 0) {
              throw this.#clock.violate('BYTES_CHANGED', `bytes for ${call.path} changed while being written`);
            }
            if (answer.error === undefined) resolve(answer.value as T);
            else reject(answer.error);
          });
        },
        call.bytes?.length ?? 0,
      );
      const interrupt = () => {
        this.#inFlight.delete(effect);
        effect.cancel();
        const fate = this.#random.below(3);
        if (fate === 0) this.#carryOut(call);
        else if (fate === 1) quietly(call.torn);
      };
      this.#inFlight.set(effect, { thread, interrupt });
    });
  }

  /** @internal Bytes that may still be written; the caller wants `path` to grow by `bytes`. */
  reserve(path: string, bytes: number): void {
    if (!this.faults.full && this.files.capacityBytes === Number.POSITIVE_INFINITY) return;
    const freeBytes = this.faults.full ? 0 : this.files.capacityBytes - this.files.usedBytes;
    if (bytes > freeBytes) throw full(path, freeBytes);
  }

  /** @internal */
  anyPrefix(bytes: Uint8Array): Uint8Array {
    return bytes.subarray(0, this.#random.below(bytes.length + 1));
  }

  /** @internal */
  misuse(message: string): MillraceError {
    return this.#clock.violate('DISK_MISUSED', message);
  }

  #folderFault(path: string): 'hang' | 'fail' | undefined {
    if (this.folderFaults.size === 0) return undefined;
    return [...this.folderFaults].find(([folder]) => path.startsWith(folder))?.[1];
  }

  #carryOut<T>(call: DiskCall<T>): { readonly value?: T; readonly error?: unknown } {
    try {
      if (this.#folderFault(call.path) === 'fail' || this.#random.chance(this.faults.errorRate)) {
        quietly(call.spoilt ?? call.torn);
        throw failed(call.path, 'simulated I/O error');
      }
      if (call.sync && this.#random.chance(this.faults.syncErrorRate)) {
        quietly(call.spoilt ?? call.torn);
        throw failed(call.path, 'simulated failure to sync');
      }
      return { value: call.whole() };
    } catch (error) {
      if (!(error instanceof MillraceError)) this.#clock.fail(error);
      return { error };
    }
  }

  #interrupt(thread: SimThread): void {
    for (const entry of [...this.#inFlight.values()]) if (entry.thread === thread) entry.interrupt();
  }
}

/** What is left of a call that did not finish: itself it may fail, and nobody hears of it. */
function quietly(torn: (() => void) | undefined): void {
  try {
    torn?.();
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
  }
}

class SimDisk implements Disk {
  readonly #host: SimHostDisk;
  readonly #thread: SimThread;

  constructor(host: SimHostDisk, thread: SimThread) {
    this.#host = host;
    this.#thread = thread;
  }

  read(path: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#call('disk.read', path, (files, at) => {
      return files.file(at).read(range?.offset ?? 0, range?.length ?? Number.POSITIVE_INFINITY);
    });
  }

  write(path: string, bytes: Uint8Array, options?: { readonly exclusive?: boolean }): Promise<void> {
    const exclusive = options?.exclusive === true;
    const host = this.#host;
    return host.call(this.#thread, {
      label: 'disk.write',
      path,
      sync: true,
      bytes,
      whole: () => {
        const { file } = host.files.create(path, exclusive);
        file.truncate(0);
        try {
          host.reserve(path, bytes.length);
        } catch (error) {
          host.files.remove(path);
          throw error;
        }
        file.append(bytes);
        file.synced = file.length;
        if (exclusive) host.files.syncFolder(folderOf(path));
      },
      torn: () => {
        const { file } = host.files.create(path, exclusive);
        file.truncate(0);
        file.append(host.anyPrefix(bytes));
      },
      // nodeDisk removes what it could not write.
      spoilt: () => {
        host.files.create(path, exclusive);
        host.files.remove(path);
      },
    });
  }

  append(path: string): Promise<DiskFile> {
    return this.#call('disk.open', path, (files) => {
      const { file, created } = files.create(path, false);
      return new SimDiskFile(this.#host, this.#thread, path, file, created);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#named('disk.rename', from, to, (files) => files.rename(from, to));
  }

  link(from: string, to: string): Promise<void> {
    return this.#named('disk.link', to, to, (files) => files.link(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#call('disk.remove', path, (files, at) => files.remove(at));
  }

  makeFolder(path: string): Promise<void> {
    return this.#call('disk.makeFolder', path, (files, at) => files.makeFolder(at));
  }

  list(path: string): Promise<string[]> {
    return this.#call('disk.list', path, (files, at) => files.list(at));
  }

  stat(path: string): Promise<{ readonly bytes: number; readonly folder: boolean } | undefined> {
    return this.#call('disk.stat', path, (files, at) => files.stat(at));
  }

  /** `at` is the path without what a file system overlooks: doubled slashes, one at the end. */
  #call<T>(label: string, path: string, whole: (files: SimFileSystem, at: string) => T): Promise<T> {
    const at = path.replace(/\/+/g, '/').replace(/(.)\/$/, '$1');
    return this.#host.call(this.#thread, { label, path, sync: false, whole: () => whole(this.#host.files, at) });
  }

  /** Changes a name, then syncs the folder of the new one; torn: changed, not synced. */
  #named(label: string, path: string, to: string, change: (files: SimFileSystem) => void): Promise<void> {
    const files = this.#host.files;
    return this.#host.call(this.#thread, {
      label,
      path,
      sync: true,
      whole: () => {
        change(files);
        files.syncFolder(folderOf(to));
      },
      torn: () => change(files),
    });
  }
}

class SimDiskFile implements DiskFile {
  readonly path: string;
  readonly #host: SimHostDisk;
  readonly #thread: SimThread;
  readonly #file: SimFile;
  #nameUnsynced: boolean;
  #busy = false;
  #closed = false;
  #failure: unknown;

  constructor(host: SimHostDisk, thread: SimThread, path: string, file: SimFile, created: boolean) {
    this.path = path;
    this.#host = host;
    this.#thread = thread;
    this.#file = file;
    this.#nameUnsynced = created;
  }

  append(bytes: Uint8Array): Promise<void> {
    return this.#one({
      label: 'disk.append',
      path: this.path,
      sync: false,
      bytes,
      whole: () => {
        try {
          this.#host.reserve(this.path, bytes.length);
        } catch (error) {
          const freeBytes = this.#host.files.capacityBytes - this.#host.files.usedBytes;
          const room = Math.min(bytes.length - 1, this.#host.faults.full ? bytes.length : freeBytes);
          if (room > 0) this.#file.append(this.#host.anyPrefix(bytes.subarray(0, room)));
          throw error;
        }
        this.#file.append(bytes);
      },
      torn: () => this.#file.append(this.#host.anyPrefix(bytes)),
    });
  }

  sync(): Promise<void> {
    return this.#one({
      label: 'disk.sync',
      path: this.path,
      sync: true,
      whole: () => {
        this.#file.synced = this.#file.length;
        if (this.#nameUnsynced) this.#host.files.syncFolder(folderOf(this.path));
        this.#nameUnsynced = false;
      },
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#host.call(this.#thread, { label: 'disk.close', path: this.path, sync: false, whole: () => {} });
  }

  /** A failure is final: later calls fail alike. */
  async #one(call: DiskCall<void>): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw failed(this.path, 'file is closed');
    if (this.#busy) throw this.#host.misuse(`overlapping calls on the open file ${this.path}`);
    this.#busy = true;
    try {
      await this.#host.call(this.#thread, call);
    } catch (error) {
      this.#failure = error;
      throw error;
    } finally {
      this.#busy = false;
    }
  }
}
