import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { mappedMemory, memoryBackedFolder, systemClock } from '../base/index.js';
import { bytesOf, NOTHING } from './conformance-kit.js';
import { noDoorbell } from './doorbell.js';
import { leavesNothing } from './leftovers.test.support.js';
import { LocalEnvironment } from './local-environment.js';
import { LocalMaster } from './local-master.js';
import { TEST_SETTINGS } from './settings.test.support.js';

const clock = systemClock();
const doorbell = noDoorbell();
const FROM = { seq: 0, chain: 0n };

if (memoryBackedFolder() !== undefined) {
  test('a consumer that writes over all that it maps harms nobody but itself', async (t) => {
    const { memoryFolder: folder } = leavesNothing(t);
    const settings = TEST_SETTINGS;
    const master = await LocalMaster.open({ memory: mappedMemory({ folder }), doorbell, settings });
    const environmentOf = () => new LocalEnvironment({ memory: mappedMemory({ folder }), clock, doorbell, settings });
    const [producer, consumer] = [environmentOf(), environmentOf()];
    const partition = { partition: 'p', type: 'pipelined', subpartitions: 1, broadcast: true, consumers: 2 } as const;
    const descriptor = { writer: 'w', epoch: 1, partitions: [partition] };
    await master.register(descriptor);
    const writer = await producer.openWriter(descriptor);
    const write = (from: number, to: number) => {
      for (let seq = from; seq < to; seq++) writer.partitions[0]?.emit(0, bytesOf(5000, seq), 1);
      writer.publish(NOTHING);
    };
    write(0, 20);

    // What a gate maps for reading: all buffers, index records, pointers. Through the views of one buffer, and directly.
    const rogueMemory = mappedMemory({ folder });
    const rogue = new LocalEnvironment({ memory: rogueMemory, clock, doorbell, settings });
    const gate = await rogue.openGate([{ partition: 'p', subpartition: 0, consumer: 0, from: FROM }]);
    const buffer = gate.poll();
    assert.ok(buffer !== undefined);
    new Uint8Array(buffer.bytes.buffer).fill(0x5a);
    for (const name of await rogueMemory.list()) {
      if (name.startsWith('shuffle-cursors') || name === 'shuffle-doorbells') continue;
      const region = await rogueMemory.open(name, 'read');
      region.bytes.fill(0xa5);
      rogueMemory.retire(region);
    }
    assert.throws(() => gate.poll(), 'its own view is what it made of it');
    await rogue.close();

    write(20, 40);
    const reader = await consumer.openGate([{ partition: 'p', subpartition: 0, consumer: 1, from: FROM }]);
    for (let seq = 0; seq < 40; seq++) {
      const read = reader.poll();
      assert.ok(read !== undefined && Buffer.from(read.bytes).equals(bytesOf(5000, seq)), `buffer ${seq}`);
      read.release();
    }
    assert.deepEqual((await master.list())[0]?.partitions[0]?.nextSeqs, [40]);
    await writer.close();
    await producer.close();
    await consumer.close();
    await master.release('w');
    await master.close();
  });
}
