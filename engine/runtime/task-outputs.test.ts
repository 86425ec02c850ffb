import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { Batch, BatchBuilder, compileSchema } from '../../base/columnar/index.js';
import { heapMemory, systemClock } from '../../base/index.js';
import { openLocalShuffle } from '../../shuffle/index.js';
import { TaskOutputs } from './task-outputs.js';

const SCHEMA = compileSchema({ k: 'utf8', n: 'int32' });

test('each edge cuts its batches after its own time, and only those that hold rows', async () => {
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock() });
  const partitions = ['fast', 'slow'].map(
    (partition) => ({ partition, type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 }) as const,
  );
  const descriptor = { writer: 'w', epoch: 1, partitions };
  await shuffle.master.register(descriptor);
  const writer = await shuffle.environment.openWriter(descriptor);
  const partitioning = { kind: 'hash', columns: ['k'] } as const;
  const outputs = new TaskOutputs({
    writer,
    edges: [10, 200].map((bufferTimeoutMs) => ({ partitioning, limits: { bufferTimeoutMs, maxLagBytes: undefined } })),
    schema: SCHEMA as never,
    counters: { rowsOut: 0 },
  });
  const builder = new BatchBuilder(SCHEMA, { rowsMax: 10, bytesMax: 10_000 });
  builder.append({ k: 'a', n: 1 });
  const batch = Batch.decode(SCHEMA, builder.finish());
  const seqs = () => writer.partitions.map((partition) => partition.positions()[0]?.seq);

  equal(outputs.dueInMs(0), Number.POSITIVE_INFINITY);
  outputs.batch(batch);
  outputs.noteHeldRows(1000);
  // A later row does not put the first one off.
  outputs.batch(batch);
  outputs.noteHeldRows(1009);
  equal(outputs.dueInMs(1009), 1);
  equal(outputs.flushOverdue(1009), -1);
  deepEqual(seqs(), [0, 0]);
  equal(outputs.flushOverdue(1010), 0);
  outputs.noteHeldRows(1010);
  deepEqual(seqs(), [1, 0]);
  equal(outputs.flushOverdue(1199), -1);
  equal(outputs.dueInMs(1199), 1);
  equal(outputs.flushOverdue(1200), 1);
  outputs.noteHeldRows(1200);
  deepEqual(seqs(), [1, 1]);
  equal(outputs.dueInMs(1200), Number.POSITIVE_INFINITY);
  await shuffle.close();
});
