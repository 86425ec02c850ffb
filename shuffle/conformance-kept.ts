import { strict as assert } from 'node:assert';
import {
  bytesOf,
  channel,
  emit,
  NOTHING,
  nextBuffer,
  open,
  pipelined,
  readAll,
  rejectsWith,
  type ShuffleConformanceCase,
  type ShuffleUnderTest,
  WAIT_MS,
  writerOf,
} from './conformance-kit.js';
import {
  BUFFER_END,
  type InputGate,
  type PartitionDescriptor,
  type PartitionType,
  type ShuffleEvent,
  type TaskWriter,
} from './spi.js';

/** Blocking and hybrid partitions, retention, compression. */
export const KEPT_CASES: readonly ShuffleConformanceCase[] = [
  {
    name: 'a blocking partition is read when it is finished, as often and from wherever one likes',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, kept('blocking', 'p', 2)));
      const early = await s.consumer.openGate([channel('p', 0)]);
      for (let i = 0; i < 10; i++) emit(writer, bytesOf(100, i), i % 2);
      writer.publish(NOTHING);
      await writer.stored();
      await s.turn();
      assert.equal(early.poll(), undefined);
      writer.partitions[0]?.event(BUFFER_END, NOTHING);
      writer.publish(NOTHING);
      await writer.close();
      assert.equal((await readAll(early, 6)).at(-1)?.kind, BUFFER_END);
      const positions = early.positions();
      await early.close();
      const again = await s.consumer.openGate([channel('p', 0), channel('p', 1)]);
      assert.equal((await readAll(again, 12)).length, 12);
      await again.close();
      const third = await s.consumer.openGate([channel('p', 0)]);
      await readAll(third, 2);
      const from = third.positions()[0];
      await third.close();
      const middle = await s.consumer.openGate([channel('p', 0, 0, from)]);
      assert.deepEqual((await readAll(middle, 1))[0]?.bytes, bytesOf(100, 4));
      assert.equal(positions[0]?.seq, 6);
      assert.equal((await s.master.list())[0]?.partitions[0]?.finished, true);
    },
  },
  {
    name: 'a hybrid partition is read while it is written, and kept; who does not read holds nobody back',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, { ...kept('hybrid', 'p'), broadcast: true, consumers: 2 }));
      const fast = await s.consumer.openGate([channel('p', 0, 0)]);
      const stalled = await s.consumer.openGate([channel('p', 0, 1)]);
      const buffers = 60;
      for (let i = 0; i < buffers; i++) {
        // Many times what an unread pipelined partition may hold.
        await emitWhenAvailable(writer, bytesOf(s.unconsumedBytesMax / 16, i));
        const buffer = await nextBuffer(fast);
        assert.equal(buffer.seq, i);
        buffer.release();
      }
      for (const gate of [stalled, await s.consumer.openGate([channel('p', 0, 0)])]) {
        await expectNumbered(gate, buffers, s.unconsumedBytesMax / 16);
      }
    },
  },
  {
    name: 'far more than fits into memory',
    async run(s) {
      if (s.spills !== true) return;
      for (const type of ['blocking', 'hybrid'] as const) {
        const name = `${type}-w`;
        const writer = await open(s, writerOf(name, 1, kept(type, type, 4)));
        const buffers = 1000;
        const bytes = s.unconsumedBytesMax / 16;
        for (let i = 0; i < buffers; i++) await emitWhenAvailable(writer, bytesOf(bytes, i >> 2), i & 3);
        await end(writer);
        for (let round = 0; round < 2; round++) {
          const gate = await s.consumer.openGate([0, 1, 2, 3].map((sub) => channel(type, sub)));
          await expectNumbered(gate, buffers + 4, bytes);
          await gate.close();
        }
        await s.master.release(name);
      }
    },
  },
  {
    name: 'a later attempt goes on with a kept partition where the sealed one stopped',
    async run(s) {
      const first = await open(s, writerOf('w', 1, kept('blocking', 'p')));
      const buffers = s.spills === true ? 300 : 40;
      const bytes = s.unconsumedBytesMax / 16;
      for (let i = 0; i < buffers; i++) await emitWhenAvailable(first, bytesOf(bytes, i));
      await first.stored();
      emit(first, bytesOf(bytes, 999));
      await s.master.seal('w', 2);
      const second = await open(s, writerOf('w', 2, kept('blocking', 'p')));
      assert.equal(second.partitions[0]?.positions()[0]?.seq, buffers);
      for (let i = buffers; i < 2 * buffers; i++) await emitWhenAvailable(second, bytesOf(bytes, i));
      await end(second);
      const gate = await s.consumer.openGate([channel('p')]);
      await expectNumbered(gate, 2 * buffers + 1, bytes);
    },
  },
  {
    name: 'retained by its consumers only: what all have consumed is gone, and nobody has to trim',
    async run(s) {
      const events: ShuffleEvent[] = [];
      s.master.onEvent((event) => events.push(event));
      const writer = await open(s, writerOf('w', 1, { ...pipelined('p'), retain: 'consumed' }));
      const gate = await s.consumer.openGate([channel('p')]);
      for (let i = 0; i < 2000; i++) {
        await emitWhenAvailable(writer, bytesOf(s.unconsumedBytesMax / 16, i));
        (await nextBuffer(gate)).release();
      }
      await gate.close();
      await rejectsWith('PARTITION_LOST', async () => {
        const again = await s.consumer.openGate([channel('p')]);
        await nextBuffer(again);
      });
      assert.deepEqual(
        events.filter(({ kind }) => kind === 'degraded'),
        [],
      );
    },
  },
  {
    name: 'compressed buffers come out as they went in, with the positions of what went in',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, { ...pipelined('p'), compression: 'lz4' }, pipelined('plain')));
      const noise = Uint8Array.from({ length: 3000 }, (_, i) => Math.imul(i + 1, 2654435761) >>> 24);
      const sent = [new Uint8Array(5000).fill(7), noise, new Uint8Array(0), bytesOf(1, 3), new Uint8Array(70_000)];
      for (const bytes of sent) {
        emit(writer, bytes, 0, 0);
        emit(writer, bytes, 0, 1);
      }
      writer.publish(NOTHING);
      const gate = await s.consumer.openGate([channel('p')]);
      const read = await readAll(gate, sent.length);
      assert.deepEqual(
        read.map(({ bytes }) => Buffer.from(bytes).toString('hex')),
        sent.map((bytes) => Buffer.from(bytes).toString('hex')),
      );
      assert.deepEqual(gate.positions(), writer.partitions[1]?.positions());
    },
  },
  {
    name: 'a partition may have a lag of its own',
    async run(s) {
      const lag = s.unconsumedBytesMax / 8;
      const writer = await open(s, writerOf('w', 1, { ...pipelined('p'), maxLagBytes: lag }));
      emit(writer, bytesOf(lag, 1));
      writer.publish(NOTHING);
      for (let i = 0; i < 50 && writer.available; i++) await s.turn();
      assert.equal(writer.available, false);
      const gate = await s.consumer.openGate([channel('p')]);
      (await nextBuffer(gate)).release();
      await writer.whenAvailable(WAIT_MS);
      assert.equal(writer.available, true);
    },
  },
  {
    name: 'what a pipelined partition retains beyond memory is on disk, for whoever reads again',
    async run(s) {
      if (s.spills !== true) return;
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      const buffers = 1200;
      const bytes = s.unconsumedBytesMax / 16;
      for (let i = 0; i < buffers; i++) {
        await emitWhenAvailable(writer, bytesOf(bytes, i));
        const buffer = await nextBuffer(gate);
        buffer.release();
        // A disk that is slower than the stream is not waited for.
        if (i % 50 === 0) await retainsAtMost(s, writer, s.unconsumedBytesMax * 11);
      }
      await gate.close();
      const again = await s.consumer.openGate([channel('p')]);
      await expectNumbered(again, buffers, bytes);
      await s.master.trim('p', [buffers]);
      await again.close();
      await rejectsWith('PARTITION_LOST', async () => {
        const trimmed = await s.consumer.openGate([channel('p')]);
        await nextBuffer(trimmed);
      });
    },
  },
];

function kept(type: PartitionType, partition: string, subpartitions = 1): PartitionDescriptor {
  return { partition, type, subpartitions, broadcast: false, consumers: 1 };
}

async function retainsAtMost(s: ShuffleUnderTest, writer: TaskWriter, bytes: number): Promise<void> {
  for (let i = 0; i < 500; i++) {
    // Memory that is not needed any more is found at the next step.
    writer.publish(Uint8Array.of(1));
    if (((await s.master.list())[0]?.partitions[0]?.retainedBytes ?? 0) < bytes) return;
    await s.turn();
  }
  assert.fail('what is retained does not leave memory');
}

async function emitWhenAvailable(writer: TaskWriter, bytes: Uint8Array, subpartition = 0): Promise<void> {
  for (let i = 0; i < 500 && !writer.available; i++) await writer.whenAvailable(WAIT_MS / 100);
  assert.ok(writer.available, 'the writer was never available again');
  emit(writer, bytes, subpartition);
  writer.publish(NOTHING);
}

async function end(writer: TaskWriter): Promise<void> {
  writer.partitions[0]?.event(BUFFER_END, NOTHING);
  writer.publish(NOTHING);
  await writer.stored();
  await writer.close();
}

/** Every channel's data buffers are `bytesOf(bytes, seq)`. */
async function expectNumbered(gate: InputGate, buffers: number, bytes: number): Promise<void> {
  for (let i = 0; i < buffers; i++) {
    const buffer = await nextBuffer(gate);
    if (buffer.kind !== BUFFER_END) {
      assert.ok(Buffer.from(buffer.bytes).equals(bytesOf(bytes, buffer.seq)), `seq ${buffer.seq} has other bytes`);
    }
    buffer.release();
  }
}
