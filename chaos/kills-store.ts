import { type Clock, MillraceError, type Random } from '../base/index.js';
import type { BlobStore } from '../checkpoint/index.js';
import type { Life } from './kills-life.js';
import type { KillsModel } from './kills-model.js';
import type { SimClock } from './sim-clock.js';
import type { Trace } from './trace.js';

/** A store in memory that tells the model of each change as it happens. */
export class WatchedBlobStore implements BlobStore {
  readonly location = 'watched';
  readonly #inner: BlobStore;
  readonly #objects: Map<string, Uint8Array>;
  readonly #model: () => KillsModel;
  readonly #trace: (label: string, detail: string) => void;

  /** `objects`: kept as the store's objects are. */
  constructor(options: {
    readonly inner: BlobStore;
    readonly objects: Map<string, Uint8Array>;
    readonly model: () => KillsModel;
    readonly clock: SimClock;
    readonly trace: Trace;
  }) {
    this.#inner = options.inner;
    this.#objects = options.objects;
    this.#model = options.model;
    this.#trace = (label, detail) => options.trace.record(options.clock.timeMs, 'store', label, detail);
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.#inner.put(name, bytes);
    this.#trace('put', `${name} ${bytes.length}`);
    this.#objects.set(name, new Uint8Array(bytes));
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#inner.get(name, range);
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.#inner.stat(name);
  }

  async delete(name: string): Promise<void> {
    await this.#inner.delete(name);
    this.#trace('delete', name);
    if (this.#objects.delete(name)) this.#model().deleted(name);
  }

  list(prefix: string): Promise<string[]> {
    return this.#inner.list(prefix);
  }

  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    return this.#inner.read(name);
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    const version = await this.#inner.compareAndSet(name, expected, bytes);
    this.#trace('compareAndSet', `${name} ${version}`);
    this.#model().moved(bytes);
    return version;
  }
}

/**
 * A store as one process reaches it: every call is an await at which it can be killed, before the request, under way or
 * before the answer. A request that is stuck arrives late, perhaps after its sender gave up on it, or was killed.
 */
export class RemoteBlobStore implements BlobStore {
  readonly location: string;
  readonly #inner: BlobStore;
  readonly #life: Life;
  readonly #sim: SimClock;
  readonly #random: Random;
  readonly #stuck: { readonly stuckRate: number; readonly stuckMsMax: number };

  constructor(
    inner: BlobStore,
    life: Life,
    sim: SimClock,
    stuck: { readonly stuckRate: number; readonly stuckMsMax: number },
  ) {
    this.location = inner.location;
    this.#inner = inner;
    this.#life = life;
    this.#sim = sim;
    this.#random = life.random.fork();
    this.#stuck = stuck;
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    // What was sent does not change with the sender's memory; that it changes while it is being sent is a bug.
    const sent = new Uint8Array(bytes);
    return this.#call('put', async () => {
      await this.#inner.put(name, sent);
      if (Buffer.compare(sent, bytes) !== 0)
        this.#sim.violate('BYTES_CHANGED', `bytes of ${name} changed while stored`);
    });
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#call('get', () => this.#inner.get(name, range));
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.#call('stat', () => this.#inner.stat(name));
  }

  delete(name: string): Promise<void> {
    return this.#call('delete', () => this.#inner.delete(name));
  }

  list(prefix: string): Promise<string[]> {
    return this.#call('list', () => this.#inner.list(prefix));
  }

  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    return this.#call('read', () => this.#inner.read(name));
  }

  compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    const sent = new Uint8Array(bytes);
    return this.#call('compareAndSet', () => this.#inner.compareAndSet(name, expected, sent));
  }

  #call<T>(what: string, send: () => Promise<T>): Promise<T> {
    const isStuck = this.#random.chance(this.#stuck.stuckRate);
    const [stuckMs, timeoutMs] = [0, 0].map(() => this.#random.float() * this.#stuck.stuckMsMax) as [number, number];
    if (!isStuck) return this.#life.request(what, send);
    return this.#life.request(
      what,
      () =>
        new Promise((resolve, reject) => {
          this.#sim.at(stuckMs, 'arrives', () => void send().then(resolve, reject));
          this.#sim.at(timeoutMs, 'timeout', () =>
            reject(new MillraceError('unavailable', 'STORE_UNAVAILABLE', `${what} took too long (simulated)`)),
          );
        }),
    );
  }
}

/** Time for what belongs to no process: requests on their way. */
export function worldClock(sim: SimClock): Clock {
  return {
    now: () => Math.floor(sim.epochMs + sim.timeMs),
    monotonicMs: () => sim.timeMs,
    schedule: (delayMs, fn) => sim.at(delayMs, 'store', fn),
    soon: (fn) => void sim.at(0, 'store', fn),
  };
}
