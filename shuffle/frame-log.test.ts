import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory, systemClock, xxh64 } from '../base/index.js';
import { keptFrames } from './frame-log.js';
import { openLocalShuffle } from './local-shuffle.js';
import { TaskLog } from './task-log.js';

const output = fc.record({ subpartition: fc.nat(2), length: fc.nat(300), rows: fc.nat(1000) });
const step = fc.record({ outputs: fc.array(output, { maxLength: 6 }), determinants: fc.uint8Array({ maxLength: 40 }) });

test('task frames, written in place, are what the generated reader reads', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const memory = heapMemory();
      const settings = { arenaBytes: 64 * 65_536, slotBytes: 65_536, frameBytes: 4096 };
      const { master, environment, close } = await openLocalShuffle({ memory, clock: systemClock(), settings });
      const partition = {
        partition: 'p',
        type: 'pipelined',
        subpartitions: 3,
        broadcast: false,
        consumers: 1,
      } as const;
      const descriptor = { writer: 'w', epoch: 7, partitions: [partition] };
      await master.register(descriptor);
      const writer = await environment.openWriter(descriptor);
      const seqs = [0, 0, 0];
      const written = [];
      for (const { outputs, determinants } of steps) {
        const due = [];
        for (const { subpartition, length, rows } of outputs) {
          const bytes = new Uint8Array(length).fill(rows);
          writer.partitions[0]?.emit(subpartition, bytes, rows);
          const seq = (seqs[subpartition] as number)++;
          due.push({ seq, length, rows, subpartition, kind: 0, partition: 0, checksum: xxh64(bytes) });
        }
        const before = writer.position;
        if (writer.publish(determinants) > before) written.push({ outputs: due, determinants: [...determinants] });
      }
      const kept = [];
      for (const { position, frame } of keptFrames(await TaskLog.open(memory, 1, 'read'))) {
        assert.equal(frame.epoch(), 7);
        assert.equal(frame.position(), BigInt(position));
        const outputs = Array.from({ length: frame.outputsLength() }, (_, i) => {
          const o = frame.outputs(i);
          assert.ok(o !== null && (o.length() === 0 || o.offset() > 0n));
          return {
            seq: Number(o.seq()),
            length: o.length(),
            rows: o.rows(),
            subpartition: o.subpartition(),
            kind: o.kind(),
            partition: o.partition(),
            checksum: o.checksum(),
          };
        });
        kept.push({ outputs, determinants: [...(frame.determinantsArray() ?? [])] });
      }
      // The oldest went when the ring was full; the newest is always there.
      assert.ok(kept.length > 0 || written.length === 0);
      assert.deepEqual(kept, written.slice(written.length - kept.length));
      await close();
    }),
    { numRuns: 60 },
  );
});
