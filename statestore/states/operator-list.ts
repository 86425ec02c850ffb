import type { StateStore } from '../spi.js';
import { encodeCell, fingerprintOfCell, valueOfCell } from './cell.js';
import { decodeBlobs, encodeBlobs } from './operator-blob.js';
import { checkComplete, type OwnedValue, ownedName, ownedValues, type Subtask } from './operator-owners.js';
import type { ValueCodec } from './value-codec.js';

/**
 * What becomes of a list when the parallelism changes. `split`: the lists of all subtasks, one after the other, are cut into
 * as many equal parts (Flink's ListState). `union`: every subtask gets all of it (Flink's UnionListState). At the same
 * parallelism a subtask always gets back what it had, so that the recovery of one of them cannot be noticed.
 */
export type Redistribution = 'split' | 'union';

/** A list of one subtask, not of a key. Written as a whole, once for each snapshot before which it changed. */
export class OperatorList<T> {
  readonly #codec: ValueCodec<T>;
  #items: Uint8Array[];
  #changed: boolean;

  /** @throws MillraceError `RESTORE_INCOMPLETE` (invalid) when lists of some subtasks are missing after a change of parallelism. */
  constructor(store: StateStore, state: string, codec: ValueCodec<T>, redistribution: Redistribution, owner: Subtask) {
    this.#codec = codec;
    const own = ownedName(state, 'list', owner);
    const values = ownedValues(store, state, 'list');
    const mine = values.find(({ name }) => name === own);
    this.#changed = mine === undefined;
    if (mine !== undefined) this.#items = this.#decode(mine);
    else {
      checkComplete(state, values);
      const all = values.flatMap((value) => this.#decode(value));
      this.#items = redistribution === 'union' ? all : partOf(all, owner);
    }
    for (const { name } of values) if (name !== own) store.operatorValue(name).remove();
    this.#save = () => store.operatorValue(own).set(this.#encode());
  }

  readonly #save: () => void;

  /** The elements in the order in which they were added; fresh objects each time. */
  get(): T[] {
    return this.#items.map((item) => this.#codec.decode(this.#codec.fingerprint, item));
  }

  add(...values: readonly T[]): void {
    for (const value of values) this.#items.push(this.#codec.encode(value));
    this.#changed = true;
  }

  /** Replaces the whole list. */
  update(values: readonly T[]): void {
    this.#items = values.map((value) => this.#codec.encode(value));
    this.#changed = true;
  }

  clear(): void {
    this.update([]);
  }

  /** Hands changes to the store: before each snapshot. */
  save(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.#save();
  }

  #encode(): Uint8Array {
    return encodeCell(this.#codec.fingerprint, 0, encodeBlobs(this.#items));
  }

  /** Under the current shape. */
  #decode({ value }: OwnedValue): Uint8Array[] {
    const fingerprint = fingerprintOfCell(value);
    const items = decodeBlobs(valueOfCell(value));
    if (fingerprint === this.#codec.fingerprint) return items;
    return items.map((item) => this.#codec.encode(this.#codec.decode(fingerprint, item)));
  }
}

function partOf<T>(all: readonly T[], { subtask, parallelism }: Subtask): T[] {
  const at = (i: number) => Math.floor((all.length * i) / parallelism);
  return all.slice(at(subtask), at(subtask + 1));
}
