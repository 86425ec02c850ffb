import { strict as assert } from 'node:assert';
import { ChainHash } from './chain-hash.js';
import {
  broadcast,
  bytesOf,
  channel,
  emit,
  NOTHING,
  nextBuffer,
  open,
  pipelined,
  publishUntilFenced,
  readAll,
  rejectsWith,
  type ShuffleConformanceCase,
  START,
  WAIT_MS,
  writerOf,
} from './conformance-kit.js';
import { BUFFER_BARRIER, BUFFER_DATA, BUFFER_END, type InputBuffer, type ShuffleEvent } from './spi.js';

/** What is written, read and read again. */
export const READING_CASES: readonly ShuffleConformanceCase[] = [
  {
    name: 'buffers and events arrive once, in order, with their bytes, kinds and rows',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p', 2)));
      const gate = await s.consumer.openGate([channel('p', 0), channel('p', 1)]);
      emit(writer, bytesOf(1, 1), 0);
      emit(writer, bytesOf(1000, 2), 1);
      writer.partitions[0]?.event(BUFFER_BARRIER, bytesOf(24, 3));
      emit(writer, bytesOf(0, 0), 0);
      assert.equal(writer.publish(NOTHING), 1);
      writer.partitions[0]?.event(BUFFER_END, NOTHING);
      assert.equal(writer.publish(bytesOf(9, 9)), 2);
      const all = await readAll(gate, 7);
      const of = (n: number) => all.filter((b) => b.channel === n).map((b) => [b.seq, b.kind, b.bytes.length]);
      assert.deepEqual(of(0), [
        [0, BUFFER_DATA, 1],
        [1, BUFFER_BARRIER, 24],
        [2, BUFFER_DATA, 0],
        [3, BUFFER_END, 0],
      ]);
      assert.deepEqual(of(1), [
        [0, BUFFER_DATA, 1000],
        [1, BUFFER_BARRIER, 24],
        [2, BUFFER_END, 0],
      ]);
      assert.deepEqual(all.find((b) => b.channel === 1 && b.seq === 0)?.bytes, bytesOf(1000, 2));
      assert.deepEqual(gate.positions(), writer.partitions[0]?.positions());
      assert.equal(gate.poll(), undefined);
    },
  },
  {
    name: 'nothing of a step is visible before it is published, and all of it after',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p', 3)));
      const gate = await s.consumer.openGate([0, 1, 2].map((n) => channel('p', n)));
      for (let n = 0; n < 3; n++) emit(writer, bytesOf(100, n), n);
      await gate.whenAvailable(20);
      assert.equal(gate.poll(), undefined);
      writer.publish(NOTHING);
      assert.deepEqual((await readAll(gate, 3)).map((b) => b.channel).sort(), [0, 1, 2]);
    },
  },
  {
    name: 'a step without outputs and determinants is not logged',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      assert.equal(writer.publish(NOTHING), 0);
      assert.equal(writer.publish(bytesOf(1, 1)), 1);
      assert.equal(writer.position, 1);
      assert.equal((await s.master.seal('w', 2)).tail, 1);
    },
  },
  {
    name: 'positions are the seq and the chain of checksums',
    async run(s) {
      const { xxh64 } = await import('../base/index.js');
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const hash = new ChainHash();
      let chain = 0n;
      for (let seq = 0; seq < 5; seq++) {
        emit(writer, bytesOf(50 + seq, seq));
        chain = hash.next(chain, xxh64(bytesOf(50 + seq, seq)));
      }
      writer.publish(NOTHING);
      assert.deepEqual(writer.partitions[0]?.positions(), [{ seq: 5, chain }]);
      const gate = await s.consumer.openGate([channel('p')]);
      await readAll(gate, 5);
      assert.deepEqual(gate.positions(), [{ seq: 5, chain }]);
    },
  },
  {
    name: 'after a seal nothing of a lower epoch becomes visible, and its writer is told',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      emit(writer, bytesOf(10, 1));
      writer.publish(NOTHING);
      await readAll(gate, 1);
      const { tail } = await s.master.seal('w', 2);
      assert.equal(tail, 1);
      await publishUntilFenced(s, writer);
      await gate.whenAvailable(20);
      assert.equal(gate.poll(), undefined);
      await rejectsWith('WRITER_FENCED', () => s.master.register(writerOf('w', 1, pipelined('p'))));
      assert.equal((await s.master.seal('w', 2)).tail, 1);
    },
  },
  {
    name: 'a later attempt goes on where the sealed one stopped, under the eyes of the same readers',
    async run(s) {
      const first = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      for (let seq = 0; seq < 4; seq++) emit(first, bytesOf(100, seq));
      first.publish(bytesOf(3, 1));
      await readAll(gate, 2);
      await s.master.seal('w', 2);
      const second = await open(s, writerOf('w', 2, pipelined('p')));
      assert.equal(second.position, 1);
      assert.deepEqual(second.partitions[0]?.positions(), first.partitions[0]?.positions());
      await publishUntilFenced(s, first);
      emit(second, bytesOf(100, 4));
      second.publish(NOTHING);
      const rest = await readAll(gate, 3);
      assert.deepEqual(
        rest.map((b) => [b.seq, b.bytes]),
        [2, 3, 4].map((seq) => [seq, bytesOf(100, seq)]),
      );
      await first.close();
    },
  },
  {
    name: 'a broadcast is one log with a cursor for each consumer',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, broadcast('b', 3)));
      for (let seq = 0; seq < 10; seq++) emit(writer, bytesOf(64, seq));
      writer.publish(NOTHING);
      for (let consumer = 0; consumer < 3; consumer++) {
        const gate = await s.consumer.openGate([channel('b', 0, consumer)]);
        assert.deepEqual(
          (await readAll(gate, 10)).map((b) => b.bytes),
          Array.from({ length: 10 }, (_, i) => bytesOf(64, i)),
        );
      }
      const status = (await s.master.list())[0];
      assert.equal(status?.partitions[0]?.retainedBytes, 640);
    },
  },
  {
    name: 'a paused channel is left alone while others go on',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p', 2)));
      const gate = await s.consumer.openGate([channel('p', 0), channel('p', 1)]);
      gate.pause(0);
      for (let seq = 0; seq < 5; seq++) for (let n = 0; n < 2; n++) emit(writer, bytesOf(10, seq), n);
      writer.publish(NOTHING);
      assert.ok((await readAll(gate, 5)).every((b) => b.channel === 1));
      assert.equal(gate.poll(), undefined);
      gate.resume(0);
      assert.deepEqual(
        (await readAll(gate, 5)).map((b) => b.seq),
        [0, 1, 2, 3, 4],
      );
    },
  },
  {
    name: 'unconsumed bytes push back, and consuming them ends it',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      let written = 0;
      while (writer.available) {
        emit(writer, bytesOf(4096, written));
        writer.publish(NOTHING);
        written++;
        await s.turn();
        assert.ok(written * 4096 < 64 * s.unconsumedBytesMax, 'a consumer that reads nothing pushes back');
      }
      writer.partitions[0]?.event(BUFFER_BARRIER, bytesOf(16, 0));
      writer.publish(NOTHING);
      assert.equal((await readAll(gate, written + 1)).at(-1)?.kind, BUFFER_BARRIER);
      for (let i = 0; i < 100 && !writer.available; i++) await writer.whenAvailable(WAIT_MS / 100);
      assert.ok(writer.available);
    },
  },
  {
    name: 'retained bytes never push back: what is consumed goes at the quota, and is said to be gone',
    async run(s) {
      const events: ShuffleEvent[] = [];
      s.master.onEvent((event) => events.push(event));
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      for (let seq = 0; seq < 6000; seq++) {
        emit(writer, bytesOf(512, seq));
        writer.publish(NOTHING);
        const buffer = await nextBuffer(gate);
        assert.equal(buffer.seq, seq);
        buffer.release();
        for (let i = 0; i < 100 && !writer.available; i++) await writer.whenAvailable(WAIT_MS / 100);
      }
      const last = s.spills === true ? 'pressure' : 'degraded';
      for (let i = 0; i < 50 && !events.some((e) => e.kind === last); i++) await gate.whenAvailable(20);
      assert.ok(events.some((e) => e.kind === 'pressure'));
      if (s.spills === true) return;
      assert.ok(events.some((e) => e.kind === 'degraded' && e.partition === 'p'));
      await rejectsWith('PARTITION_LOST', () => s.consumer.openGate([channel('p')]));
    },
  },
  {
    name: 'a new attempt of a consumer reads again from a retained position, but not from a trimmed one',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      for (let seq = 0; seq < 10; seq++) emit(writer, bytesOf(10, seq));
      writer.publish(NOTHING);
      await readAll(gate, 4);
      const at4 = gate.positions()[0];
      assert.ok(at4);
      await readAll(gate, 6);
      await gate.close();
      await s.master.trim('p', [4]);
      emit(writer, bytesOf(10, 10));
      writer.publish(NOTHING);
      const again = await s.consumer.openGate([channel('p', 0, 0, at4)]);
      assert.deepEqual(
        (await readAll(again, 7)).map((b) => b.bytes),
        [4, 5, 6, 7, 8, 9, 10].map((n) => bytesOf(10, n)),
      );
      await again.close();
      await rejectsWith('PARTITION_LOST', () => s.consumer.openGate([channel('p', 0, 0, { seq: 1, chain: 1n })]));
      await rejectsWith('BUFFER_OUT_OF_ORDER', () => s.consumer.openGate([channel('p', 0, 0, { seq: 6, chain: 1n })]));
      await rejectsWith('PARTITION_LOST', () => s.consumer.openGate([channel('p', 0, 0, { seq: 99, chain: 1n })]));
    },
  },
  {
    name: 'trimmed memory is used again, for as long as the writer lives',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      const events: ShuffleEvent[] = [];
      s.master.onEvent((event) => events.push(event));
      for (let seq = 0; seq < 1000; seq++) {
        emit(writer, bytesOf(20_000, seq));
        writer.publish(NOTHING);
        const buffer = await nextBuffer(gate);
        assert.equal(buffer.seq, seq);
        buffer.release();
        if (seq % 8 === 7) await s.master.trim('p', [seq + 1]);
        for (let i = 0; i < 100 && !writer.available; i++) await writer.whenAvailable(WAIT_MS / 100);
      }
      assert.equal(events.filter((e) => e.kind === 'degraded').length, 0);
    },
  },
  {
    name: 'buffers larger than a slot',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      for (let round = 0; round < 12; round++) {
        const bytes = bytesOf(700_000 + round, round);
        emit(writer, bytes);
        writer.publish(NOTHING);
        const [got] = await readAll(gate, 1);
        assert.deepEqual(got?.bytes, bytes);
        await s.master.trim('p', [round + 1]);
      }
    },
  },
  {
    name: 'many subpartitions, and events in each of them',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p', 1000)));
      const gate = await s.consumer.openGate(Array.from({ length: 1000 }, (_, n) => channel('p', n)));
      for (let n = 0; n < 1000; n += 3) emit(writer, bytesOf(16, n), n);
      writer.partitions[0]?.event(BUFFER_END, NOTHING);
      writer.publish(NOTHING);
      const all = await readAll(gate, 1334);
      assert.equal(all.filter((b) => b.kind === BUFFER_END).length, 1000);
      for (const b of all) if (b.kind === BUFFER_DATA) assert.deepEqual(b.bytes, bytesOf(16, b.channel));
    },
  },
  {
    name: 'buffers may be released in any order',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      for (let seq = 0; seq < 4; seq++) emit(writer, bytesOf(10, seq));
      writer.publish(NOTHING);
      const held: InputBuffer[] = [];
      for (let i = 0; i < 4; i++) held.push(await nextBuffer(gate));
      for (const i of [2, 0, 3, 1]) held[i]?.release();
      assert.throws(() => held[1]?.release());
      await gate.close();
      const again = await s.consumer.openGate([channel('p', 0, 0, gate.positions()[0] ?? START)]);
      assert.equal(again.poll(), undefined);
    },
  },
];
