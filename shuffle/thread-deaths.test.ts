import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  mappedMemory,
  memoryBackedFolder,
  seededRandom,
  serveMappedMemory,
  sleep,
  systemClock,
} from '../base/index.js';
import { noDoorbell } from './doorbell.js';
import { leavesNothing } from './leftovers.test.support.js';
import { LocalMaster } from './local-master.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import type { DyingMoment } from './thread-deaths.test.support.js';

const THREAD = fileURLToPath(new URL('./thread-deaths.test.support.js', import.meta.url));
const MOMENTS: readonly DyingMoment[] = ['mapping', 'writing', 'reading'];
/** `node dist/shuffle/thread-deaths.test.js 1000` for more of them. */
const DEATHS = Number(process.argv[2] ?? 60);
const BATCH = 3;
const WARM_UP = 4 * BATCH;
const random = seededRandom(1);
const clock = systemClock();

if (memoryBackedFolder() !== undefined) {
  test('threads terminated while they map, write or read leave memory, descriptors, slots and files where they were', async (t) => {
    const { memoryFolder: folder } = leavesNothing(t);
    const master = await LocalMaster.open({
      memory: mappedMemory({ folder }),
      doorbell: noDoorbell(),
      settings: TEST_SETTINGS,
    });
    await kill(t, WARM_UP, folder, master);
    const before = footprint(folder, master);
    await kill(t, DEATHS, folder, master);
    const after = footprint(folder, master);
    // Stacks and heaps of threads come and go by a few lines; what a thread leaves would be one line or more each.
    assert.ok(after.maps < before.maps + DEATHS / 3, `${before.maps} lines of /proc/self/maps, then ${after.maps}`);
    assert.deepEqual({ ...after, maps: 0 }, { ...before, maps: 0 });
    assert.equal(after.freeSlots, master.arena.slots);
    t.diagnostic(`${DEATHS} deaths: ${before.maps} lines of /proc/self/maps, then ${after.maps}`);
    await master.close();
  });
}

async function kill(t: TestContext, deaths: number, folder: string, master: LocalMaster): Promise<void> {
  for (let done = 0; done < deaths; done += BATCH) {
    await Promise.all(Array.from({ length: BATCH }, (_, i) => killOne(t, `${t.name.length}-${i}`, i, folder, master)));
  }
}

/** A writer and its thread, from the first to the last; the thread is terminated in the midst of it. */
async function killOne(t: TestContext, name: string, i: number, folder: string, master: LocalMaster): Promise<void> {
  const partition = { partition: name, type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
  const descriptor = { writer: name, epoch: 1, partitions: [partition] };
  await master.register(descriptor);
  const { port1, port2 } = new MessageChannel();
  serveMappedMemory({ folder }, port1);
  const closed = once(port1, 'close');
  const moment = MOMENTS[i % MOMENTS.length] as DyingMoment;
  const worker = new Worker(THREAD, { workerData: { port: port2, descriptor, moment }, transferList: [port2] });
  t.after(() => worker.terminate());
  worker.once('error', (e) => t.diagnostic(`${moment}: ${e}`));
  const [begun] = await Promise.race([once(worker, 'message'), once(worker, 'exit')]);
  assert.equal(begun, 'begun');
  await sleep(clock, random.below(20));
  port1.ref();
  await worker.terminate();
  await closed;
  await master.abandoned(name, 1);
  await master.release(name);
}

function footprint(folder: string, master: LocalMaster) {
  return {
    maps: readFileSync('/proc/self/maps', 'utf8').split('\n').length,
    mapped: readFileSync('/proc/self/maps', 'utf8').split(folder).length,
    descriptors: readdirSync('/proc/self/fd').length,
    files: readdirSync(folder).length,
    freeSlots: master.arena.freeSlots(),
  };
}
