/**
 * The memory-backed folder of one simulated host, on ArrayBuffers: regions outlive processes, and end with the host.
 *
 * A `read` region shows the very bytes of the writer (as a private mapping does, until it is written to). That a reader
 * never writes is checked instead of contained: with `guard`, after every event of a thread the regions which it holds
 * for reading only must have the checksum they had before it. It costs a pass over all regions of the thread per event,
 * so turn it on for a share of the seeds.
 *
 * A retired region's views stay as they are; that nobody uses them is not checked here.
 */
import { heapMemory, regionOver, type SharedMemory, type SharedRegion, xxh64 } from '../base/index.js';
import type { SimClock } from './sim-clock.js';
import type { SimThread } from './sim-thread.js';

export interface SimMemoryOptions {
  /** Sum of all regions of a host. */
  readonly bytesMax?: number;
  /** How long a call takes, in ms: uniform between the two, drawn by `delayMs`. */
  readonly delayMs?: () => number;
  readonly guard?: boolean;
}

interface Held {
  readonly access: 'read' | 'write';
  readonly source: SharedRegion;
  readonly view: SharedRegion;
}

export class SimHostMemory {
  readonly #clock: SimClock;
  readonly #options: SimMemoryOptions;
  #heap: SharedMemory;
  #regions: WeakRef<SharedRegion>[] = [];
  readonly #sums = new WeakMap<SharedRegion, bigint>();
  readonly #held = new Map<SimThread, Map<string, Held>>();
  readonly #living = new Set<string>();

  constructor(clock: SimClock, options: SimMemoryOptions = {}) {
    this.#clock = clock;
    this.#options = options;
    this.#heap = heapMemory(options.bytesMax === undefined ? {} : { bytesMax: options.bytesMax });
    if (options.guard === true) clock.onSettled((thread) => this.#check(thread));
  }

  /** The view of one thread. Its promises settle only in events of that thread; a dead thread's calls do nothing. */
  of(thread: SimThread): SharedMemory {
    const held = new Map<string, Held>();
    this.#held.set(thread, held);
    this.#living.add(thread.identity);
    thread.onDeath(() => {
      this.#held.delete(thread);
      this.#living.delete(thread.identity);
    });
    const later = <T>(label: string, call: () => Promise<T>) => this.#later(thread, label, call);
    const hold = (source: SharedRegion, access: 'read' | 'write'): SharedRegion => {
      const key = `${access} ${source.name}`;
      const known = held.get(key);
      if (known?.source === source) return known.view;
      const view = regionOver(source.name, source.bytes.buffer);
      held.set(key, { access, source, view });
      if (!this.#sums.has(source)) this.#sums.set(source, xxh64(source.bytes));
      return view;
    };
    return {
      create: (name, byteLength) =>
        later('memory.create', async () => {
          const source = await this.#heap.create(name, byteLength);
          this.#regions.push(new WeakRef(source));
          return hold(source, 'write');
        }),
      open: (name, access) => later('memory.open', async () => hold(await this.#heap.open(name, access), access)),
      remove: (name) =>
        // Who holds it goes on holding it, as a mapped file that has no name any more.
        later('memory.remove', () => this.#heap.remove(name)),
      retire: (region) => {
        for (const [key, entry] of held) {
          if (entry.view !== region) continue;
          // What it wrote earlier in this event was its right.
          if (entry.access === 'write') this.#sums.set(entry.source, xxh64(entry.source.bytes));
          held.delete(key);
        }
      },
      list: () => later('memory.list', () => this.#heap.list()),
    };
  }

  /** Whether a thread of this host is dead, as `threadIsGone` tells of a real one. */
  isGone(identity: string): boolean {
    return !this.#living.has(identity);
  }

  /**
   * Remembers every byte now; the returned function puts them back. For a thread killed in the middle of an event: what
   * its code writes from then until it first waits never happened.
   */
  snapshot(): () => void {
    const copies: { readonly region: SharedRegion; readonly bytes: Uint8Array }[] = [];
    this.#regions = this.#regions.filter((reference) => {
      const region = reference.deref();
      if (region !== undefined) copies.push({ region, bytes: region.bytes.slice() });
      return region !== undefined;
    });
    return () => {
      for (const { region, bytes } of copies) region.bytes.set(bytes);
    };
  }

  /** The host lost power: everything is gone. */
  wipe(): void {
    this.#heap = heapMemory(this.#options.bytesMax === undefined ? {} : { bytesMax: this.#options.bytesMax });
    this.#regions = [];
  }

  /**
   * The call takes effect and is answered in one event of the thread: a thread killed before it never made the call.
   * Nobody can tell this from a call that took effect earlier, as only that thread knows when it called.
   */
  #later<T>(thread: SimThread, label: string, call: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!thread.alive) return;
      this.#clock.on(thread, this.#options.delayMs?.() ?? 0, label, () => {
        call().then(resolve, reject);
      });
    });
  }

  #check(thread: SimThread | undefined): void {
    const held = thread === undefined ? undefined : this.#held.get(thread);
    if (held === undefined) return;
    const writable = new Set<SharedRegion>();
    for (const { access, source } of held.values()) {
      if (access !== 'write') continue;
      writable.add(source);
      this.#sums.set(source, xxh64(source.bytes));
    }
    for (const { access, source } of held.values()) {
      if (access === 'write' || writable.has(source)) continue;
      if (xxh64(source.bytes) !== this.#sums.get(source)) {
        throw this.#clock.violate('STRAY_WRITE', `wrote to memory region "${source.name}", held for reading only`);
      }
    }
  }
}
