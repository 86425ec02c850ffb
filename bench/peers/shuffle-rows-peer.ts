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
import { openAll, openClient, type ServiceAddress, Trimmer, untilAvailable } from './shuffle-client.js';

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
/** 12 bytes, as in Flink's network benchmark: a long and an int, one record behind the other. */
const RECORD_WORDS = 3;

let client: ShuffleClient | undefined;
let writers: TaskWriter[] = [];
let gates: InputGate[] = [];

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
    const trimmer = new Trimmer(client as ShuffleClient, partition);
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
      if (clock.monotonicMs() >= trimAtMs) trimAtMs = trimAll(trimmer, gate);
    }
    await trimmer.done();
    await gate.close();
    if (sum !== rows * 0.25) throw new Error(`the columns add up to ${sum} and not to ${rows * 0.25}`);
  },

  async openWriters(order: { writers: readonly WriterDescriptor[] }): Promise<void> {
    writers = [];
    for (const writer of order.writers) writers.push(await (client as ShuffleClient).environment.openWriter(writer));
  },

  async openGates(order: { partitions: readonly string[]; channels: number }): Promise<void> {
    gates = [];
    for (const partition of order.partitions) {
      gates.push(await openAll(client as ShuffleClient, partition, 0, order.channels));
    }
  },

  /**
   * Several writers in one thread, records of 12 bytes to all channels in turn. They take turns of `flushMs`, at the end of
   * which all that was begun goes, as threads that share a core would.
   */
  async produceRecords(order: { records: number; flushMs: number; bufferBytes: number }): Promise<void> {
    const sources = writers.map((writer) => new RecordSource(writer, order.records / writers.length, order));
    for (let left = sources; left.length > 0; left = left.filter((source) => !source.done)) {
      for (const source of left) {
        source.startTurn();
        do {
          if (!source.writer.available) await untilAvailable(source.writer);
        } while (source.step());
      }
    }
    for (const writer of writers) await writer.close();
  },

  async consumeRecords(order: { partitions: readonly string[]; records: number }): Promise<void> {
    const counts = await Promise.all(
      gates.map((gate, i) => readRecords(gate, order.partitions[i] as string, order.records / gates.length)),
    );
    const records = counts.reduce((sum, n) => sum + n, 0);
    if (records !== order.records) throw new Error(`${records} of ${order.records} records arrived whole`);
    for (const gate of gates) await gate.close();
  },
});

/** One writer of the network benchmark: a buffer under construction for each channel. */
class RecordSource {
  readonly writer: TaskWriter;
  readonly #partition: ResultPartitionWriter;
  readonly #flushMs: number;
  readonly #bufferWords: number;
  /** The buffers of all channels, side by side, and how far each is filled. */
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #filled: Int32Array;
  #left: number;
  #flushAtMs = 0;
  #channel = 0;
  #staged = false;

  constructor(writer: TaskWriter, records: number, order: { readonly flushMs: number; readonly bufferBytes: number }) {
    this.writer = writer;
    this.#left = records;
    this.#flushMs = order.flushMs;
    this.#partition = writer.partitions[0] as ResultPartitionWriter;
    const channels = this.#partition.descriptor.subpartitions;
    this.#bufferWords = Math.floor(order.bufferBytes / 4 / RECORD_WORDS) * RECORD_WORDS;
    this.#words = new Int32Array(channels * this.#bufferWords);
    this.#bytes = new Uint8Array(this.#words.buffer);
    this.#filled = new Int32Array(channels);
  }

  get done(): boolean {
    return this.#left === 0;
  }

  startTurn(): void {
    this.#flushAtMs = clock.monotonicMs() + this.#flushMs;
  }

  /** Some thousand records; false when the turn is over, because it is time for a flush or nothing is left. */
  step(): boolean {
    const words = this.#words;
    const filled = this.#filled;
    const bufferWords = this.#bufferWords;
    const count = Math.min(RECORDS_PER_STEP, this.#left);
    let channel = this.#channel;
    for (let i = 0; i < count; i++) {
      const at = filled[channel] as number;
      const to = channel * bufferWords + at;
      words[to] = this.#left - i;
      words[to + 1] = 0;
      words[to + 2] = i;
      filled[channel] = at + RECORD_WORDS;
      if (at + RECORD_WORDS === bufferWords) this.#emit(channel);
      channel = channel + 1 === filled.length ? 0 : channel + 1;
    }
    this.#channel = channel;
    this.#left -= count;
    const over = this.#left === 0 || clock.monotonicMs() >= this.#flushAtMs;
    if (over) this.#flush();
    if (this.#staged) this.writer.publish(NOTHING);
    this.#staged = false;
    return !over;
  }

  #flush(): void {
    for (let channel = 0; channel < this.#filled.length; channel++) {
      if ((this.#filled[channel] as number) > 0) this.#emit(channel);
    }
  }

  #emit(channel: number): void {
    const filled = this.#filled[channel] as number;
    const byte = channel * this.#bufferWords * 4;
    this.#partition.emit(channel, this.#bytes.subarray(byte, byte + filled * 4), filled / RECORD_WORDS);
    this.#filled[channel] = 0;
    this.#staged = true;
  }
}

async function readRecords(gate: InputGate, partition: string, records: number): Promise<number> {
  let received = 0;
  let whole = 0;
  const trimmer = new Trimmer(client as ShuffleClient, partition);
  let trimAtMs = clock.monotonicMs() + TRIM_MS;
  while (received < records) {
    const buffer = gate.poll();
    if (buffer === undefined) {
      await gate.whenAvailable(WAIT_MS);
      continue;
    }
    const { bytes, rows } = buffer;
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, rows * RECORD_WORDS);
    for (let i = 0; i < words.length; i += RECORD_WORDS) {
      whole += (words[i] as number) >= 1 && words[i + 1] === 0 && (words[i + 2] as number) >= 0 ? 1 : 0;
    }
    received += rows;
    buffer.release();
    if (clock.monotonicMs() >= trimAtMs) trimAtMs = trimAll(trimmer, gate);
  }
  await trimmer.done();
  return whole;
}

/** As completed checkpoints would; returns when to do it again. */
function trimAll(trimmer: Trimmer, gate: InputGate): number {
  trimmer.trim(() => gate.positions().map((position) => position.seq));
  return clock.monotonicMs() + TRIM_MS;
}

const RECORDS_PER_STEP = 4096;
