import { strict as assert } from 'node:assert';
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
  WAIT_MS,
  writerOf,
} from './conformance-kit.js';

/** What a master is asked for. */
export const CONTROL_CASES: readonly ShuffleConformanceCase[] = [
  {
    name: 'a released writer is gone: its readers are told, its names are free again',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      emit(writer, bytesOf(10, 1));
      writer.publish(NOTHING);
      await readAll(gate, 1);
      await s.master.release('w');
      await s.master.release('w');
      await rejectsWith('PARTITION_LOST', () => nextBuffer(gate));
      await publishUntilFenced(s, writer);
      await rejectsWith('PARTITION_LOST', () => s.consumer.openGate([channel('p')]));
      await rejectsWith('WRITER_UNKNOWN', () => s.producer.openWriter(writerOf('w', 1, pipelined('p'))));
      assert.deepEqual(await s.master.list(), []);
      const next = await open(s, writerOf('w', 2, pipelined('p')));
      assert.equal(next.position, 0);
      await rejectsWith('WRITER_FENCED', () => s.master.register(writerOf('w', 1, pipelined('p'))));
    },
  },
  {
    name: 'what makes no sense is refused where it is said, and harms nothing',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const [partition] = writer.partitions;
      const wrong = { code: 'BUFFER_INVALID', kind: 'invalid' };
      assert.throws(() => partition?.emit(0, 'abc' as never, 1), wrong);
      assert.throws(() => partition?.emit(0, new Uint32Array(2) as never, 1), wrong);
      for (const rows of [-1, 1.5, Number.NaN, 2 ** 32]) assert.throws(() => partition?.emit(0, NOTHING, rows), wrong);
      for (const kind of [0, 9]) assert.throws(() => partition?.event(kind as never, NOTHING), wrong);
      for (const seq of [-1, 1.5, Number.NaN]) {
        const from = { seq, chain: 0n };
        await rejectsWith('CHANNEL_INVALID', () => s.consumer.openGate([channel('p', 0, 0, from)]));
      }
      const odd = [
        writerOf('v', 1.5, pipelined('q')),
        writerOf('', 1, pipelined('q')),
        writerOf('v', 1, pipelined('')),
        writerOf('v', 1, pipelined('q', -1)),
        writerOf('v', 1, { ...pipelined('q'), maxLagBytes: Number.NaN }),
      ];
      for (const descriptor of odd) await rejectsWith('WRITER_INVALID', () => s.master.register(descriptor));
      emit(writer, bytesOf(10, 1));
      writer.publish(NOTHING);
      assert.deepEqual((await readAll(await s.consumer.openGate([channel('p')]), 1))[0]?.bytes, bytesOf(10, 1));
    },
  },
  {
    name: 'list tells what exists',
    async run(s) {
      const writer = await open(s, writerOf('w', 3, pipelined('p', 2), broadcast('b', 2)));
      emit(writer, bytesOf(10, 1), 1);
      emit(writer, bytesOf(30, 1), 0, 1);
      writer.publish(NOTHING);
      for (let i = 0; i < 50 && (await s.master.list())[0]?.tail !== 1; i++) await s.turn();
      const shown = { type: 'pipelined', finished: false };
      assert.deepEqual(await s.master.list(), [
        {
          writer: 'w',
          epoch: 3,
          sealed: false,
          tail: 1,
          job: undefined,
          partitions: [
            { ...shown, partition: 'p', firstSeqs: [0, 0], nextSeqs: [0, 1], retainedBytes: 10 },
            { ...shown, partition: 'b', firstSeqs: [0], nextSeqs: [1], retainedBytes: 30 },
          ],
        },
      ]);
    },
  },
  {
    name: 'a job is released with all it had, and nothing else',
    async run(s) {
      await open(s, { ...writerOf('a', 1, pipelined('p')), job: 'one' });
      await open(s, { ...writerOf('b', 1, broadcast('q', 2)), job: 'one' });
      await open(s, { ...writerOf('c', 1, pipelined('r')), job: 'other' });
      await s.master.releaseJob('one');
      assert.deepEqual(
        (await s.master.list()).map(({ writer, job }) => [writer, job]),
        [['c', 'other']],
      );
      await s.master.releaseJob('never heard of');
    },
  },
  {
    name: 'what is said to be stored is there; what was fenced is not',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      await writer.stored();
      for (let step = 0; step < 20; step++) {
        emit(writer, bytesOf(10, step));
        writer.publish(NOTHING);
      }
      await writer.stored();
      assert.equal((await s.master.list())[0]?.tail, 20);
      await s.master.seal('w', 2);
      await rejectsWith('WRITER_FENCED', async () => {
        emit(writer, bytesOf(10, 1));
        writer.publish(NOTHING);
        await writer.stored();
      });
    },
  },
  {
    name: 'waiting wakes up when something is published, also when asked very often',
    async run(s) {
      const writer = await open(s, writerOf('w', 1, pipelined('p')));
      const gate = await s.consumer.openGate([channel('p')]);
      const waits = Array.from({ length: 1000 }, () => gate.whenAvailable(WAIT_MS));
      emit(writer, bytesOf(10, 1));
      writer.publish(NOTHING);
      await Promise.all(waits);
      assert.equal((await readAll(gate, 1))[0]?.seq, 0);
      await gate.whenAvailable(1);
      assert.equal(gate.poll(), undefined);
    },
  },
];
