import { compareBytes } from '../../checkpoint/index.js';
import type { Generations } from './generations.js';

/** An entry that has changed since the newest completed snapshot, or was removed since. */
export interface EntryChange {
  readonly keyGroup: number;
  /** As the store numbers states. */
  readonly state: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  readonly hash: number;
  removed: boolean;
  /** Generations (`generations.ts`) of its last change and of its birth. */
  stamp: number;
  born: number;
}

/** Born before the newest completed snapshot. */
const OLD = 0;

/** Which entries the next delta holds, by the rules of `Generations`. */
export class EntryChanges {
  readonly #generations: Generations;
  readonly #changes = new Map<string, EntryChange>();

  constructor(generations: Generations) {
    this.#generations = generations;
  }

  get count(): number {
    return this.#changes.size;
  }

  /** An entry was put; `isNew`: there was none. */
  put(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array, hash: number, isNew: boolean): void {
    const { current } = this.#generations;
    const name = nameOf(keyGroup, state, key, sub);
    const change = this.#changes.get(name);
    if (change !== undefined) {
      change.removed = false;
      change.stamp = current;
      return;
    }
    const born = isNew ? current : OLD;
    const own = { key: key.slice(), sub: sub.slice() };
    this.#changes.set(name, { keyGroup, state, ...own, hash, removed: false, stamp: current, born });
  }

  /** An entry that was there is no more. */
  remove(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array, hash: number): void {
    const { current, persisted } = this.#generations;
    const name = nameOf(keyGroup, state, key, sub);
    const born = this.#changes.get(name)?.born ?? OLD;
    // No segment that counts can hold it.
    if (born > persisted) this.#changes.delete(name);
    else {
      const own = { key: key.slice(), sub: sub.slice() };
      this.#changes.set(name, { keyGroup, state, ...own, hash, removed: true, stamp: current, born });
    }
  }

  /** What a delta holds that is taken now, in the order of segments. `rankOf`: places of states among their names. */
  sorted(rankOf: (state: number) => number): EntryChange[] {
    const { completed, persisted } = this.#generations;
    const changes = [...this.#changes.values()].filter(
      ({ stamp, removed, born }) => stamp > completed && !(removed && born > persisted),
    );
    return changes.sort(
      (a, b) =>
        a.keyGroup - b.keyGroup ||
        rankOf(a.state) - rankOf(b.state) ||
        compareBytes(a.key, b.key) ||
        compareBytes(a.sub, b.sub),
    );
  }

  /** After a checkpoint is complete: forgets what is saved. */
  settle(): void {
    const { completed } = this.#generations;
    for (const [name, change] of this.#changes) {
      if (change.stamp <= completed) this.#changes.delete(name);
      else if (change.born <= completed) change.born = OLD;
    }
  }
}

function nameOf(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): string {
  return `${keyGroup}/${state}/${key.length}/${latin1(key)}${latin1(sub)}`;
}

function latin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1');
}
