import { MillraceError, type Random } from '../base/index.js';
import {
  type BlobStore,
  type BlobStoreFaults,
  decodeHead,
  headName,
  isMoved,
  MemoryBlobStore,
  NO_BLOB_STORE_FAULTS,
} from '../checkpoint/index.js';
import type { StoredCheckpoints, StoredHead } from './audit-checkpoints.js';
import type { HeadPlace } from './head-watch.js';
import type { SimContext } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

/** How long a request may be under way whose sender was told that there is no answer. */
const LATE_MS = 400;

/**
 * An object store beyond all hosts: it outlives them, and a request that was sent arrives, whether or not its sender lives. Some
 * get no answer and take effect later (`lateRate`), or before (`faults.lostResponseRate`). What HEAD refers to is there when HEAD
 * moves, and is not deleted while HEAD refers to it: whatever breaks that ends the run, at the moment it happens.
 */
export class SimObjectStore implements HeadPlace, StoredCheckpoints {
  readonly faults: BlobStoreFaults;
  /** Changes with HEAD. */
  revision = 0;
  readonly #world: SimWorld;
  readonly #lateRate: number;
  readonly #store = new MemoryBlobStore();
  readonly #names = new Set<string>();
  #head: Uint8Array | undefined;
  #needed = new Set<string>();

  constructor(world: SimWorld, options: { readonly delayMs: readonly [number, number]; readonly lateRate: number }) {
    this.#world = world;
    this.#lateRate = options.lateRate;
    this.faults = { ...NO_BLOB_STORE_FAULTS, delayMs: options.delayMs };
  }

  newest(): { readonly version: string; readonly bytes: Uint8Array } | undefined {
    return this.#head && { version: String(this.revision).padStart(10, '0'), bytes: this.#head };
  }

  /** Power cuts are no matter here. */
  isDurable(): boolean {
    return true;
  }

  names(prefix: string): string[] {
    return [...this.#names].filter((name) => name.startsWith(prefix)).sort();
  }

  heads(): readonly StoredHead[] {
    return this.#head === undefined ? [] : [{ name: headName, bytes: this.#head, durable: true }];
  }

  bytesOf(name: string): Promise<Uint8Array> {
    return this.#store.get(name);
  }

  /** As one thread reaches it. */
  of({ thread, random }: SimContext): BlobStore {
    const store = this.#store;
    const draw = random.fork();
    const call = <T>(what: string, changes: boolean, send: () => Promise<T>) =>
      this.#call(thread, draw, what, changes, send);
    return {
      location: 's3 (simulated)',
      get: (name, range) => call(`get ${name}`, false, () => store.get(name, range)),
      stat: (name) => call(`stat ${name}`, false, () => store.stat(name)),
      list: (prefix) => call(`list ${prefix}`, false, () => store.list(prefix)),
      read: (name) => call(`read ${name}`, false, () => store.read(name)),
      put: (name, bytes) => {
        const sent = new Uint8Array(bytes);
        return call(`put ${name}`, true, async () => {
          await store.put(name, sent);
          this.#names.add(name);
        });
      },
      delete: (name) => call(`delete ${name}`, true, () => this.#delete(name)),
      compareAndSet: (name, expected, bytes) => {
        const sent = new Uint8Array(bytes);
        return call(`compare-and-set ${name}`, true, () => this.#move(name, expected, sent));
      },
    };
  }

  async #delete(name: string): Promise<void> {
    if (this.#needed.has(name)) this.#violate(`${name} is deleted, HEAD refers to it`);
    this.#names.delete(name);
    await this.#store.delete(name);
  }

  async #move(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    const version = await this.#store.compareAndSet(name, expected, bytes);
    if (name !== headName) return version;
    this.#head = bytes;
    this.revision++;
    const { latest, retained } = decodeHead(bytes, 'the simulated store');
    this.#needed = new Set();
    for (const manifest of [...(latest === null ? [] : [latest]), ...retained]) {
      if (isMoved(manifest)) this.#needed.add(manifest.object);
      else
        for (const { segments } of manifest.tasks) {
          for (const { object, inline } of segments) if (inline === undefined) this.#needed.add(object);
        }
    }
    for (const object of this.#needed) {
      if (!this.#names.has(object)) this.#violate(`HEAD refers to ${object}, which is not there`);
    }
    return version;
  }

  #violate(what: string): never {
    throw this.#world.clock.violate('HEAD_DANGLES', `invariant 6: ${what}`);
  }

  #call<T>(
    thread: SimContext['thread'],
    random: Random,
    what: string,
    changes: boolean,
    send: () => Promise<T>,
  ): Promise<T> {
    const { clock: sim } = this.#world;
    const [min, max] = this.faults.delayMs;
    // Drawn up front, so that what a call meets does not depend on what happens while it is under way.
    const oneWayMs = (min + random.float() * (max - min)) / 2;
    const fails = random.chance(this.faults.errorRate);
    const losesAnswer = random.chance(this.faults.lostResponseRate) && changes;
    const isLate = random.chance(this.#lateRate) && changes;
    const lateMs = random.float() * LATE_MS;
    return new Promise((resolve, reject) => {
      if (!thread.alive) return;
      const answer = (fn: () => void) => void sim.on(thread, oneWayMs, 'objects.answer', fn);
      const none = (why: string) =>
        answer(() => {
          const message = `s3 (simulated): ${what} failed: ${why} (simulated)`;
          reject(new MillraceError('unavailable', 'STORE_UNAVAILABLE', message));
        });
      sim.at(isLate ? lateMs : oneWayMs, 'objects.request', () => {
        if (!isLate && (fails || this.faults.outage)) return none('no connection');
        send().then(
          (value) => {
            if (!isLate) losesAnswer ? none('the answer was lost') : answer(() => resolve(value));
          },
          (thrown: unknown) => {
            if (!(thrown instanceof MillraceError)) sim.fail(thrown);
            else if (!isLate) answer(() => reject(thrown));
          },
        );
      });
      if (isLate) none('no answer yet');
    });
  }
}
