/** Between two looks at how much memory is in use. */
const incomingMax = 16;
/** Entries of one table that are looked at, one after the other, before others have their turn. */
const examinedAtOnce = 256;
/** When so many turns have freed too little, nearly everything has changed: the rest must wait for a checkpoint. */
const turnsMax = 32;

/** A table whose entries may leave the memory. */
export interface Evicting {
  /** Bytes of what is in it, with the garbage there may be. */
  readonly usedBytes: number;
  /** Looks at so many entries, and lets go of those that lie beneath as they are and have not been used lately. @returns how many. */
  evict(examine: number): number;
}

/**
 * A bound on the memory of a store's tables. It is kept by letting go of entries that lie beneath; what has changed since is
 * never let go, and so a store whose every entry changes between two checkpoints is as large as that makes it.
 */
export class MemoryBudget {
  readonly bytesMax: number;
  readonly #tables: Evicting[] = [];
  /** Of the store's memory that no table can free. */
  readonly #others: () => number;
  #incoming = 0;
  #turn = 0;

  constructor(bytesMax: number, others: () => number) {
    this.bytesMax = bytesMax;
    this.#others = others;
  }

  add(table: Evicting): void {
    this.#tables.push(table);
  }

  get usedBytes(): number {
    return this.#tables.reduce((sum, { usedBytes }) => sum + usedBytes, this.#others());
  }

  /** Before an entry comes into memory, or grows there. Entries that have not been changed just now may go. */
  incoming(): void {
    if (++this.#incoming < incomingMax) return;
    this.#incoming = 0;
    let evicted = 0;
    for (let turn = 0; turn < turnsMax && this.usedBytes > this.bytesMax; turn++) {
      // More than came in: then there is an end to it.
      if (evicted > 2 * incomingMax && turn >= this.#tables.length) return;
      const table = this.#tables[this.#turn++ % this.#tables.length];
      evicted += table?.evict(examinedAtOnce) ?? 0;
    }
  }
}
