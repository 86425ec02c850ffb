import {
  type Clock,
  type Disk,
  MillraceError,
  nodeDisk,
  seededRandom,
  silentLogger,
  systemClock,
  type Timer,
  xxh64,
} from '../base/index.js';
import { ChainHash } from './chain-hash.js';
import type { RegionBuffer, RegionPart } from './region-file.js';
import type { RegionObjects } from './region-objects.js';
import { type RegionEvent, RegionStore, type RegionStoreOptions } from './region-store.js';
import type { BufferKind } from './spi.js';

/** Buffers of one subpartition whose bytes follow from where they are; `compressed` ones are stored shorter. */
export function buffersOf(name: string, from: number, to: number, bytes = 40, compressed = false): RegionBuffer[] {
  const hash = new ChainHash();
  const all: RegionBuffer[] = [];
  let chain = 0n;
  for (let seq = 0; seq < to; seq++) {
    const length = bytes + (seq % 7);
    const stored = new Uint8Array(length).map((_, i) => Number(xxh64(Buffer.from(name), BigInt(seq + i)) & 255n));
    const checksum = compressed ? xxh64(Buffer.from(`raw ${name} ${seq}`)) : xxh64(stored);
    chain = hash.next(chain, checksum);
    const kind = (seq % 5) as BufferKind;
    all.push({ seq, kind, rows: seq * 3, rawLength: length + (compressed ? 9 : 0), checksum, chain, bytes: stored });
  }
  return all.slice(from);
}

export function partOf(partition: string, subpartition: number, from: number, to: number, bytes = 40): RegionPart {
  const buffers = buffersOf(`${partition}/${subpartition}`, from, to, bytes, subpartition % 2 === 1);
  return { partition, subpartition, buffers };
}

export interface OpenedStore {
  readonly store: RegionStore;
  readonly events: RegionEvent[];
}

export async function openStore(
  folders: readonly string[],
  options: Partial<RegionStoreOptions> = {},
): Promise<OpenedStore> {
  const events: RegionEvent[] = [];
  const store = await RegionStore.open({
    disk: nodeDisk(),
    folders,
    clock: systemClock({ unref: true }),
    logger: silentLogger(),
    random: seededRandom(7),
    bootId: 'this boot',
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { store, events };
}

/** What a `FaultyDisk` does to a call: let it through, fail it with this code, or never answer. */
export type Fault = 'none' | 'hang' | 'DISK_FAILED' | 'DISK_FULL';

/** A disk that asks before each call, by the call's name (`append`, `file.append`, `file.sync`, `read`, ..) and path. */
export function faultyDisk(inner: Disk, fault: (call: string, path: string) => Fault): Disk {
  const ask = <T>(call: string, path: string, run: () => Promise<T>): Promise<T> => {
    const now = fault(call, path);
    if (now === 'none') return run();
    if (now === 'hang') return new Promise(() => {});
    return Promise.reject(new MillraceError('unavailable', now, `${path}: ${call} was made to fail`));
  };
  return {
    read: (path, range) => ask('read', path, () => inner.read(path, range)),
    write: (path, bytes, options) => ask('write', path, () => inner.write(path, bytes, options)),
    append: (path) =>
      ask('append', path, async () => {
        const file = await inner.append(path);
        return {
          path,
          append: (bytes) => ask('file.append', path, () => file.append(bytes)),
          sync: () => ask('file.sync', path, () => file.sync()),
          close: () => file.close(),
        };
      }),
    rename: (from, to) => ask('rename', to, () => inner.rename(from, to)),
    link: (from, to) => ask('link', to, () => inner.link(from, to)),
    remove: (path) => ask('remove', path, () => inner.remove(path)),
    makeFolder: (path) => ask('makeFolder', path, () => inner.makeFolder(path)),
    list: (path) => ask('list', path, () => inner.list(path)),
    stat: (path) => ask('stat', path, () => inner.stat(path)),
  };
}

/** Objects in memory; `failing` names the calls that fail. */
export class HeldObjects implements RegionObjects {
  readonly held = new Map<string, Uint8Array>();
  readonly failing = new Set<'put' | 'get' | 'delete' | 'list'>();
  /** Called when an object was put, before that is told. */
  afterPut: () => void | Promise<void> = () => {};

  async put(name: string, bytes: Uint8Array): Promise<void> {
    this.#mayFail('put');
    if (this.held.has(name)) throw new MillraceError('invalid', 'BLOB_EXISTS', name);
    this.held.set(name, bytes.slice());
    await this.afterPut();
  }

  async get(name: string, range?: { offset: number; length: number }): Promise<Uint8Array> {
    this.#mayFail('get');
    const bytes = this.held.get(name);
    if (bytes === undefined) throw new MillraceError('unavailable', 'BLOB_NOT_FOUND', name);
    return range === undefined ? bytes.slice() : bytes.slice(range.offset, range.offset + range.length);
  }

  async delete(name: string): Promise<void> {
    this.#mayFail('delete');
    this.held.delete(name);
  }

  async list(prefix: string): Promise<string[]> {
    this.#mayFail('list');
    return [...this.held.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  #mayFail(call: 'put' | 'get' | 'delete' | 'list'): void {
    if (this.failing.has(call)) throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', `${call} was made to fail`);
  }
}

/** A clock that stands still until told. */
export class StoppedClock implements Clock {
  readonly #timers = new Map<object, { readonly at: number; readonly fn: () => void }>();
  #now = 0;

  now(): number {
    return this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  schedule(delayMs: number, fn: () => void): Timer {
    const timer = { cancel: () => void this.#timers.delete(timer) };
    this.#timers.set(timer, { at: this.#now + delayMs, fn });
    return timer;
  }

  soon(fn: () => void): void {
    setImmediate(fn);
  }

  get timers(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const [timer, { at, fn }] of [...this.#timers]) if (at <= this.#now && this.#timers.delete(timer)) fn();
  }
}
