import type { EntryTable } from './entry-table.js';

/** Walks the ids of a table round and round, some at a time. Entries may come and go between calls. */
export class TableScan {
  readonly #table: EntryTable;
  #next = 1;

  constructor(table: EntryTable) {
    this.#table = table;
  }

  /** Examines at most `idsMax` ids, and none twice; visits those that are live. */
  run(idsMax: number, visit: (id: number) => void): void {
    const table = this.#table;
    const { limit } = table;
    for (let left = Math.min(idsMax, limit - 1); left > 0; left--) {
      if (this.#next >= limit) this.#next = 1;
      const id = this.#next++;
      if (table.isLive(id)) visit(id);
    }
  }
}
