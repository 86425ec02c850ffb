import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { serveSharedArrayMemory, sharedArrayMemory, systemClock } from '../base/index.js';
import { openLocalShuffle } from './local-shuffle.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { BUFFER_END } from './spi.js';

const PRODUCER = fileURLToPath(new URL('./thread-producer.test.support.js', import.meta.url));

test('a producer in another thread, over SharedArrayBuffers, without any doorbell', async () => {
  const memory = sharedArrayMemory();
  const shuffle = await openLocalShuffle({ memory, clock: systemClock(), settings: TEST_SETTINGS });
  const partition = { partition: 'p', type: 'pipelined', subpartitions: 3, broadcast: false, consumers: 1 } as const;
  const descriptor = { writer: 'w', epoch: 1, partitions: [partition] };
  await shuffle.master.register(descriptor);
  const gate = await shuffle.environment.openGate(
    [0, 1, 2].map((subpartition) => ({ partition: 'p', subpartition, consumer: 0, from: { seq: 0, chain: 0n } })),
  );
  const { port1, port2 } = new MessageChannel();
  serveSharedArrayMemory(memory, port1);
  const buffers = 5000;
  const producer = new Worker(PRODUCER, { workerData: { port: port2, descriptor, buffers }, transferList: [port2] });
  const exited = once(producer, 'exit');
  for (let ended = 0, read = 0; ended < 3; ) {
    const buffer = gate.poll();
    if (buffer === undefined) {
      await gate.whenAvailable(1000);
      continue;
    }
    if (buffer.kind === BUFFER_END) ended++;
    else {
      assert.ok(Buffer.from(buffer.bytes).equals(numberedBytes(buffer.seq * 3 + buffer.channel)));
      read++;
    }
    buffer.release();
    if (ended === 3) assert.equal(read, buffers);
  }
  assert.equal((await exited)[0], 0);
  port1.close();
  await shuffle.close();
});
