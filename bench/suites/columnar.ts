import {
  Batch,
  BatchBuilder,
  compileSchema,
  decodeRow,
  encodeColumns,
  encodeRow,
  hashKey,
  KeyExtractor,
  keyGroupOf,
  type RowOf,
  rowCursor,
  seek,
  subtaskOfKeyGroup,
  toRow,
} from '../../base/columnar/index.js';
import { BareColumns } from '../bare-columns.js';
import { measureCalls, type Suite, type SuiteContext, size } from '../harness.js';

const EVENTS = { time: 'timestamp', a: 'int32', b: 'int32', ratio: 'float64', text: 'utf8' } as const;
const SCHEMA = compileSchema(EVENTS);
type EventBatch = Batch<typeof EVENTS>;
const OPTIONS = { rowsMax: 4096, bytesMax: 2 ** 24 };
const KEY_GROUPS = 128;
const PARTITIONS = 8;
const AIRPORTS = ['ATL', 'JFK', 'LAX', 'SFO', 'ORD', 'DFW', 'DEN', 'SEA'];
const BARE = 'bare typed arrays';

/** Batches of 4,096 rows (a timestamp, two int32, a float64, a string of 3 or 32 bytes) in one thread. */
export const columnar: Suite = {
  name: 'columnar',
  async run(context) {
    meetOtherSchemas(size(context, 2000, 5));
    const rows = size(context, 4096, 64);
    const short = new Subject(rows, 3);
    const long = new Subject(rows, 32);
    await views(context, short, long);
    for (const subject of [short, long]) await building(context, subject);
    await keys(context, short, long);
    for (const subject of [short, long]) await rowCodec(context, subject);
    await smallBatches(context, short);
  },
};

/** What is measured on: the same rows as a batch, as objects, as bare columns. */
class Subject {
  readonly rows: number;
  readonly textBytes: number;
  readonly batch: EventBatch;
  readonly objects: readonly RowOf<typeof EVENTS>[];
  readonly bare: BareColumns;

  constructor(rows: number, textBytes: number) {
    this.rows = rows;
    this.textBytes = textBytes;
    this.objects = Array.from({ length: rows }, (_, i) => ({
      time: 1.6e12 + i * 1000,
      a: i,
      b: i * 7,
      ratio: i * 0.5,
      text:
        textBytes === 3 ? (AIRPORTS[(i * 7919) % 8] as string) : `user-${(i * 7919) % 100000}`.padEnd(textBytes, 'x'),
    }));
    const builder = new BatchBuilder(SCHEMA, OPTIONS);
    for (const row of this.objects) builder.append(row);
    this.batch = Batch.decode(SCHEMA, builder.finish().slice());
    this.bare = new BareColumns(this.objects);
  }
}

async function views(context: SuiteContext, short: Subject, long: Subject): Promise<void> {
  const { batch, rows, bare } = short;
  const view = batch.rowView();
  const cursor = view[rowCursor];
  const sumByCursor = () => {
    let sum = 0;
    for (let row = 0; row < rows; row++) {
      cursor.row = row;
      sum += view.time + view.a + view.b + view.ratio;
    }
    return sum;
  };
  const sumBySeek = () => {
    let sum = 0;
    for (let row = 0; row < rows; row++) {
      seek(view, row);
      sum += view.time + view.a + view.b + view.ratio;
    }
    return sum;
  };
  const sumBare = () => bare.sum();
  await rate(context, 'columnar.view.numbers', rows, sumByCursor, sumBare);
  await rate(context, 'columnar.view.numbers.seek', rows, sumBySeek, sumBare);
  for (const subject of [short, long]) {
    const texts = subject.batch.rowView();
    await rate(context, `columnar.view.string.${subject.textBytes}`, rows, () => {
      let length = 0;
      for (let row = 0; row < rows; row++) {
        texts[rowCursor].row = row;
        length += texts.text.length;
      }
      return length;
    });
  }
}

/** Everything that makes batches, finished each time; beside it the same values moved between bare typed arrays. */
async function building(context: SuiteContext, subject: Subject): Promise<void> {
  const { batch, rows, objects, bare, textBytes } = subject;
  const builder = new BatchBuilder(SCHEMA, OPTIONS);
  const order = Uint32Array.from({ length: rows }, (_, i) => i);
  const gather = () => bare.gather(order);
  await rate(
    context,
    `columnar.append.${textBytes}`,
    rows,
    () => {
      for (const row of objects) builder.append(row);
      return builder.finish();
    },
    () => bare.fill(objects),
  );
  await rate(
    context,
    `columnar.appendFrom.${textBytes}`,
    rows,
    () => {
      for (let row = 0; row < rows; row++) builder.appendFrom(batch, row);
      return builder.finish();
    },
    gather,
  );
  await rate(
    context,
    `columnar.appendSelected.${textBytes}`,
    rows,
    () => {
      builder.appendSelected(batch, order, 0, rows);
      return builder.finish();
    },
    gather,
  );
  const partition = new HashPartition(rows);
  await rate(context, `columnar.partition.${textBytes}`, rows, () => partition.split(batch), gather);
  const columns = {
    time: Float64Array.from(objects, (row) => row.time),
    a: Int32Array.from(objects, (row) => row.a),
    b: Int32Array.from(objects, (row) => row.b),
    ratio: Float64Array.from(objects, (row) => row.ratio),
    text: objects.map((row) => row.text),
  };
  await rate(
    context,
    `columnar.encodeColumns.${textBytes}`,
    rows,
    () => encodeColumns(SCHEMA, columns, 0, rows),
    () => bare.fill(objects),
  );
}

/** Into eight batches by the hash of the string, row by row, as the exchange between tasks does it. */
class HashPartition {
  readonly #extractor = new KeyExtractor(SCHEMA, ['text']);
  readonly #builders = Array.from({ length: PARTITIONS }, () => new BatchBuilder(SCHEMA, OPTIONS));
  readonly #subtaskOf = Uint8Array.from({ length: KEY_GROUPS }, (_, g) => subtaskOfKeyGroup(g, KEY_GROUPS, PARTITIONS));
  readonly #hashes: Uint32Array;

  constructor(rows: number) {
    this.#hashes = new Uint32Array(rows);
  }

  split(batch: EventBatch): void {
    this.#extractor.hashes(batch as unknown as Batch, this.#hashes);
    for (let row = 0; row < batch.rows; row++) {
      const subtask = this.#subtaskOf[keyGroupOf(this.#hashes[row] as number, KEY_GROUPS)] as number;
      (this.#builders[subtask] as BatchBuilder<typeof EVENTS>).appendFrom(batch, row);
    }
    for (const builder of this.#builders) builder.finish();
  }
}

async function keys(context: SuiteContext, short: Subject, long: Subject): Promise<void> {
  const hashes = new Uint32Array(short.rows);
  const numbers = new KeyExtractor(SCHEMA, ['a']);
  await rate(
    context,
    'columnar.hashes.int32',
    short.rows,
    () => numbers.hashes(short.batch as unknown as Batch, hashes),
    () => short.bare.mix(hashes),
  );
  const texts = new KeyExtractor(SCHEMA, ['text']);
  for (const { batch: typed, rows, textBytes } of [short, long]) {
    const batch = typed as unknown as Batch;
    await rate(context, `columnar.hashes.utf8.${textBytes}`, rows, () => texts.hashes(batch, hashes));
    await rate(context, `columnar.key.utf8.${textBytes}`, rows, () => {
      let length = 0;
      for (let row = 0; row < rows; row++) length += texts.encode(batch, row).length;
      return length;
    });
    const key = texts.encode(batch, rows - 1).slice();
    await rate(context, `columnar.hashKey.${textBytes}`, rows, () => {
      let all = 0;
      for (let row = 0; row < rows; row++) all ^= hashKey(key);
      return all;
    });
  }
}

async function rowCodec(context: SuiteContext, { objects, rows, textBytes }: Subject): Promise<void> {
  const encoded = objects.map((row) => encodeRow(SCHEMA, row).slice());
  const json = objects.map((row) => JSON.stringify(row));
  await measureCalls(
    context,
    { name: `columnar.encodeRow.${textBytes}`, unit: 'rows/s', limitName: 'JSON.stringify' },
    rows,
    () => {
      for (const row of objects) encodeRow(SCHEMA, row);
    },
    () => {
      for (const row of objects) JSON.stringify(row);
    },
  );
  await measureCalls(
    context,
    { name: `columnar.decodeRow.${textBytes}`, unit: 'rows/s', limitName: 'JSON.parse' },
    rows,
    () => {
      for (const bytes of encoded) decodeRow(SCHEMA, bytes);
    },
    () => {
      for (const text of json) JSON.parse(text);
    },
  );
}

/** What a batch costs however many rows it has. */
async function smallBatches(context: SuiteContext, { batch }: Subject): Promise<void> {
  const times = 100;
  await measureCalls(context, { name: 'columnar.decode', unit: 'batches/s' }, times, () => {
    for (let i = 0; i < times; i++) Batch.decode(SCHEMA, batch.bytes);
  });
  const pairs = compileSchema({ a: 'int32', text: 'utf8' });
  const builder = new BatchBuilder(pairs, OPTIONS);
  await measureCalls(context, { name: 'columnar.append.one', unit: 'batches/s' }, times, () => {
    for (let i = 0; i < times; i++) {
      builder.append({ a: i, text: 'x' });
      builder.finish();
    }
  });
}

function rate(
  context: SuiteContext,
  name: string,
  rows: number,
  value: () => unknown,
  limit?: () => unknown,
): Promise<void> {
  return measureCalls(context, { name, unit: 'rows/s', limitName: BARE }, rows, value, limit);
}

/** A job has many schemas: code that has met only one would be optimized for it, and the figures too good. */
function meetOtherSchemas(times: number): void {
  const row = { a: 1, x: null, y: 1.5, k: true, z: 5, q: 'a longer text than one word', m: 1, n: null };
  const others = [
    { a: 'int32' },
    { x: 'utf8?', y: 'float64?' },
    { k: 'bool?', z: 'int64', q: 'utf8' },
    { m: 'float64', n: 'float64?' },
  ] as const;
  for (const other of others) {
    const schema = compileSchema(other as Readonly<Record<string, 'int32'>>);
    const builder = new BatchBuilder(schema, { rowsMax: 100, bytesMax: 1e6 });
    const extractor = new KeyExtractor(schema, Object.keys(other));
    const hashes = new Uint32Array(20);
    for (let time = 0; time < times; time++) {
      for (let i = 0; i < 20; i++) builder.append(row as never);
      const batch = Batch.decode(schema, builder.finish().slice());
      const view = batch.rowView();
      for (let i = 0; i < 20; i++) {
        seek(view, i);
        toRow(view);
        builder.appendFrom(batch, i);
      }
      builder.finish();
      extractor.hashes(batch, hashes);
      extractor.encode(batch, 0);
      builder.appendSelected(batch, [1, 2, 3], 0, 3);
      builder.finish();
    }
  }
}
