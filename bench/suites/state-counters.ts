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

/** Counters of the users of each of so many ranges of key groups, one store after the other: never all of them in memory. */
export function* filledStores(users: number, ranges: number): Generator<MemoryStateStore> {
  const groups = new Uint8Array(users);
  const extractor = new KeyExtractor(USERS, ['user']);
  const rows = new KeyRows();
  let at = 0;
  for (const batch of userBatches(users)) {
    extractor.rows(batch as unknown as Batch, KEY_GROUPS, rows);
    groups.set(rows.keyGroups.subarray(0, batch.rows), at);
    at += batch.rows;
  }
  const each = KEY_GROUPS / ranges;
  for (let first = 0; first < KEY_GROUPS; first += each) {
    const store = new MemoryStateStore({ first, last: first + each - 1 });
    const counting = new Counting(store.laneTable('counts', 1));
    const own: number[] = [];
    const count = () => counting.batch(batchOf(own.length, (row) => own[row] as number));
    for (let user = 0; user < users; user++) {
      const group = groups[user] as number;
      if (group < first || group >= first + each) continue;
      if (own.push(user) < BATCH_ROWS) continue;
      count();
      own.length = 0;
    }
    if (own.length > 0) count();
    yield store;
  }
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
