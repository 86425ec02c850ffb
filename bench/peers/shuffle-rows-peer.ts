import { Batch, BatchBuilder, compileSchema } from '../../base/columnar/index.js';
import { systemClock } from '../../base/index.js';
import type {
  InputGate,
  ResultPartitionWriter,
  ShuffleClient,
  TaskWriter,
  WriterDescriptor,
} from '../../shuffle/index.js';
import { servePeer } from '../peer.js';
import { openAll, openClient, type ServiceAddress, untilAvailable } from './shuffle-client.js';

/** Rows through the shuffle: built into batches by one process, read in place by another. */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const BATCH_BYTES = 32 * 1024;
const WAIT_MS = 100;
const TRIM_MS = 20;

/** 100 bytes: a timestamp, eleven numbers, a small one. */
const WIDE = compileSchema({
  time: 'timestamp',
  a: 'float64',
  b: 'float64',
  c: 'float64',
  d: 'float64',
  e: 'float64',
  f: 'float64',
  g: 'float64',
  h: 'float64',
  i: 'float64',
  j: 'float64',
  k: 'float64',
  key: 'int32',
});
/** 12 bytes, as in Flink's network benchmark. */
const NARROW_COLUMNS = { value: 'int64', key: 'int32' } as const;
const NARROW = compileSchema(NARROW_COLUMNS);
type NarrowBuilder = BatchBuilder<typeof NARROW_COLUMNS>;

let client: ShuffleClient | undefined;

servePeer({
  async open(address: ServiceAddress): Promise<void> {
    client = await openClient(clock, address);
  },

  async produceWide({ writer: descriptor, rows }: { writer: WriterDescriptor; rows: number }): Promise<void> {
    const writer = await (client as ShuffleClient).environment.openWriter(descriptor);
    const partition = writer.partitions[0] as ResultPartitionWriter;
    const builder = new BatchBuilder(WIDE, { rowsMax: 65_536, bytesMax: BATCH_BYTES });
    const row = { time: 0, a: 0, b: 1, c: 2, d: 3, e: 4, f: 5, g: 6, h: 7, i: 8, j: 9, k: 10, key: 0 };
    for (let n = 0; n < rows; n++) {
      row.time = n;
      row.a = n * 0.5;
      row.k = n + 0.25;
      row.key = n & 0xffff;
      builder.append(row);
      if (!builder.full && n < rows - 1) continue;
      const inBatch = builder.rows;
      partition.emit(0, builder.finish(), inBatch);
      writer.publish(NOTHING);
      if (!writer.available) await untilAvailable(writer);
    }
    await writer.close();
  },

  /** Reads three columns of each row in place, and checks what they add up to. */
  async consumeWide({ partition, rows }: { partition: string; rows: number }): Promise<void> {
    const gate = await openAll(client as ShuffleClient, partition, 0, 1);
    let received = 0;
    let sum = 0;
    let trimAtMs = clock.monotonicMs() + TRIM_MS;
    while (received < rows) {
      const buffer = gate.poll();
      if (buffer === undefined) {
        await gate.whenAvailable(WAIT_MS);
        continue;
      }
      const batch = Batch.decode(WIDE, buffer.bytes);
      const times = batch.column(0).words;
      const ks = batch.column(11).floats;
      const keys = batch.column(12).words;
      for (let i = 0; i < batch.rows; i++) {
        sum += (ks[i] as number) - (times[2 * i] as number) - ((keys[i] as number) - ((received + i) & 0xffff));
      }
      received += batch.rows;
      buffer.release();
      if (clock.monotonicMs() >= trimAtMs) trimAtMs = await trimAll(partition, gate);
    }
    await gate.close();
    if (sum !== rows * 0.25) throw new Error(`the columns add up to ${sum} and not to ${rows * 0.25}`);
  },

  /** Several writers in one thread, records of 12 bytes to all channels in turn; every `flushMs` all that was begun goes. */
  async produceNarrow(order: {
    writers: readonly WriterDescriptor[];
    records: number;
    flushMs: number;
  }): Promise<void> {
    const sources: NarrowSource[] = [];
    for (const descriptor of order.writers) {
      const writer = await (client as ShuffleClient).environment.openWriter(descriptor);
      sources.push(new NarrowSource(writer, order.records / order.writers.length, order.flushMs));
    }
    for (let left = sources; left.length > 0; left = left.filter((source) => !source.done)) {
      for (const source of left) {
        if (!source.writer.available) await untilAvailable(source.writer);
        source.step();
      }
    }
    for (const { writer } of sources) await writer.close();
  },

  async consumeNarrow(order: { partitions: readonly string[]; channels: number; records: number }): Promise<void> {
    const gates: InputGate[] = [];
    for (const partition of order.partitions) {
      gates.push(await openAll(client as ShuffleClient, partition, 0, order.channels));
    }
    const counts = await Promise.all(
      gates.map((gate, i) => readNarrow(gate, order.partitions[i] as string, order.records / gates.length)),
    );
    const records = counts.reduce((sum, n) => sum + n, 0);
    if (records !== order.records) throw new Error(`${records} of ${order.records} records arrived whole`);
    for (const gate of gates) await gate.close();
  },
});

/** One writer of the network benchmark: a batch under construction for each channel. */
class NarrowSource {
  readonly writer: TaskWriter;
  readonly #partition: ResultPartitionWriter;
  readonly #builders: readonly NarrowBuilder[];
  readonly #flushMs: number;
  readonly #row = { value: 0, key: 0 };
  #left: number;
  #flushAtMs: number;
  #channel = 0;
  #staged = false;

  constructor(writer: TaskWriter, records: number, flushMs: number) {
    this.writer = writer;
    this.#left = records;
    this.#flushMs = flushMs;
    this.#partition = writer.partitions[0] as ResultPartitionWriter;
    this.#builders = Array.from({ length: this.#partition.descriptor.subpartitions }, () => {
      return new BatchBuilder(NARROW, { rowsMax: 65_536, bytesMax: BATCH_BYTES });
    });
    this.#flushAtMs = clock.monotonicMs() + flushMs;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  /** Some thousand records, and a flush when it is time for one or nothing is left. */
  step(): void {
    const row = this.#row;
    const builders = this.#builders;
    const count = Math.min(RECORDS_PER_STEP, this.#left);
    for (let i = 0; i < count; i++) {
      row.value = this.#left - i;
      row.key = i;
      const builder = builders[this.#channel] as NarrowBuilder;
      builder.append(row);
      if (builder.full) this.#emit(this.#channel, builder);
      this.#channel = this.#channel + 1 === builders.length ? 0 : this.#channel + 1;
    }
    this.#left -= count;
    if (this.#left === 0 || clock.monotonicMs() >= this.#flushAtMs) this.#flush();
    if (this.#staged) this.writer.publish(NOTHING);
    this.#staged = false;
  }

  #flush(): void {
    for (let channel = 0; channel < this.#builders.length; channel++) {
      const builder = this.#builders[channel] as NarrowBuilder;
      if (builder.rows > 0) this.#emit(channel, builder);
    }
    this.#flushAtMs = clock.monotonicMs() + this.#flushMs;
  }

  #emit(channel: number, builder: NarrowBuilder): void {
    const { rows } = builder;
    this.#partition.emit(channel, builder.finish(), rows);
    this.#staged = true;
  }
}

async function readNarrow(gate: InputGate, partition: string, records: number): Promise<number> {
  let received = 0;
  let whole = 0;
  let trimAtMs = clock.monotonicMs() + TRIM_MS;
  while (received < records) {
    const buffer = gate.poll();
    if (buffer === undefined) {
      await gate.whenAvailable(WAIT_MS);
      continue;
    }
    const batch = Batch.decode(NARROW, buffer.bytes);
    const values = batch.column(0).words;
    const keys = batch.column(1).words;
    for (let i = 0; i < batch.rows; i++) whole += (values[2 * i] as number) >= 1 && (keys[i] as number) >= 0 ? 1 : 0;
    received += batch.rows;
    buffer.release();
    if (clock.monotonicMs() >= trimAtMs) trimAtMs = await trimAll(partition, gate);
  }
  return whole;
}

/** As a completed checkpoint would; resolves with when to do it again. */
async function trimAll(partition: string, gate: InputGate): Promise<number> {
  await (client as ShuffleClient).master.trim(
    partition,
    gate.positions().map((position) => position.seq),
  );
  return clock.monotonicMs() + TRIM_MS;
}

const RECORDS_PER_STEP = 8192;
