import { Batch, BatchBuilder, compileSchema, KeyExtractor, KeyRows } from '../../base/columnar/index.js';
import type { Random } from '../../base/index.js';
import { type LaneTable, MemoryStateStore, type StateWriter } from '../../statestore/index.js';

export const KEY_GROUPS = 128;
export const ALL = { first: 0, last: KEY_GROUPS - 1 };
export const BATCH_ROWS = 4096;
const USERS = compileSchema({ user: 'int64' });
export type UserBatch = Batch<(typeof USERS)['schema']>;

/** Counts rows by user in a lane table. */
export class Counting {
  readonly #table: LaneTable;
  readonly #extractor = new KeyExtractor(USERS, ['user']);
  readonly #rows = new KeyRows();
  readonly #slots = new Int32Array(BATCH_ROWS);
  readonly #created = new Uint8Array(BATCH_ROWS);

  constructor(table: LaneTable) {
    this.#table = table;
  }

  batch(batch: UserBatch): void {
    const table = this.#table;
    const slots = this.#slots;
    this.#extractor.rows(batch as unknown as Batch, KEY_GROUPS, this.#rows);
    table.upsertAll(this.#rows, slots, this.#created);
    const { values } = table;
    for (let row = 0; row < batch.rows; row++) {
      const slot = slots[row] as number;
      values[slot] = (values[slot] as number) + 1;
    }
  }
}

/** A counter for each of so many users, in the state `counts`. */
export function filledStore(users: number, writer?: StateWriter): MemoryStateStore {
  const options = { chainLengthMax: Number.POSITIVE_INFINITY };
  const store = new MemoryStateStore(ALL, writer === undefined ? options : { ...options, writer });
  const counting = new Counting(store.laneTable('counts', 1));
  for (const batch of userBatches(users)) counting.batch(batch);
  return store;
}

/** Every user once. */
export function* userBatches(users: number): Generator<UserBatch> {
  for (let from = 0; from < users; from += BATCH_ROWS) {
    yield batchOf(Math.min(BATCH_ROWS, users - from), (row) => from + row);
  }
}

export function randomBatches(random: Random, users: number, count: number, rows = count * BATCH_ROWS): UserBatch[] {
  return Array.from({ length: count }, (_, i) =>
    batchOf(Math.min(BATCH_ROWS, rows - i * BATCH_ROWS), () => random.below(users)),
  );
}

function batchOf(rows: number, userOf: (row: number) => number): UserBatch {
  const builder = new BatchBuilder(USERS, { rowsMax: BATCH_ROWS, bytesMax: 2 ** 20 });
  for (let row = 0; row < rows; row++) builder.append({ user: userOf(row) });
  return Batch.decode(USERS, builder.finish().slice());
}
