import { MillraceError, type Random } from '../base/index.js';
import { type BlobStore, MemoryBlobStore } from '../checkpoint/index.js';
import type { SimWorld } from './sim-world.js';

/** What the value of a simulated checkpoint owner says: its number, and the objects it stands on. */
export interface SimHead {
  readonly n: number;
  readonly refs: readonly string[];
}

export function encodeSimHead(head: SimHead): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(head));
}

export function decodeSimHead(bytes: Uint8Array | undefined): SimHead {
  return bytes === undefined ? { n: 0, refs: [] } : (JSON.parse(new TextDecoder().decode(bytes)) as SimHead);
}

/**
 * The remote store of a world, which outlives all processes. Its heads only go up, refer to nothing that is not there, and
 * nothing that they refer to is deleted: whatever breaks that ends the run, at the moment it happens.
 */
export class SimRemote {
  readonly store = new MemoryBlobStore();
  /** Puts that landed after their caller had been told that there is no answer. */
  landedLate = 0;
  /** Moves of heads. */
  moves = 0;
  readonly #world: SimWorld;
  readonly #heads = new Map<string, SimHead>();

  constructor(world: SimWorld) {
    this.#world = world;
  }

  head(name: string): SimHead {
    return this.#heads.get(name) ?? { n: 0, refs: [] };
  }

  /** The store as one process sees it: some of its calls get no answer and take effect minutes later. */
  view(random: Random, late: { rate: number; maxMs: number }): BlobStore {
    const { store } = this;
    const change = async <T>(call: () => Promise<T>): Promise<T> => {
      if (!random.chance(late.rate)) return call();
      const afterMs = random.float() * late.maxMs;
      this.#world.clock.at(afterMs, 'remote.late', () => {
        call().then(
          () => this.landedLate++,
          (thrown: unknown) => {
            if (!(thrown instanceof MillraceError)) this.#world.clock.fail(thrown);
          },
        );
      });
      throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer (simulated, lands late)');
    };
    return {
      location: 'remote',
      put: (name, bytes) => {
        // It may land when the caller's bytes have changed.
        const copy = bytes.slice();
        return change(() => store.put(name, copy));
      },
      get: (name, range) => store.get(name, range),
      stat: (name) => store.stat(name),
      list: (prefix) => store.list(prefix),
      read: (name) => store.read(name),
      delete: (name) => change(() => this.#delete(name)),
      compareAndSet: (name, expected, bytes) => {
        const copy = bytes.slice();
        return change(() => this.#move(name, expected, copy));
      },
    };
  }

  async #move(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    const version = await this.store.compareAndSet(name, expected, bytes);
    if (!name.startsWith('HEAD')) return version;
    this.moves++;
    const head = decodeSimHead(bytes);
    if (head.n < this.head(name).n) this.#violate('HEAD_BACK', `${name} went from ${this.head(name).n} to ${head.n}`);
    this.#heads.set(name, head);
    for (const ref of head.refs) {
      if ((await this.store.stat(ref)) === undefined) {
        this.#violate('HEAD_DANGLES', `${name} ${head.n} refers to ${ref}, which is not at the remote`);
      }
    }
    return version;
  }

  async #delete(name: string): Promise<void> {
    for (const [value, head] of this.#heads) {
      if (head.refs.includes(name))
        this.#violate('HEAD_DANGLES', `${name} is deleted, ${value} ${head.n} refers to it`);
    }
    await this.store.delete(name);
  }

  #violate(code: string, message: string): never {
    throw this.#world.clock.violate(code, message);
  }
}
