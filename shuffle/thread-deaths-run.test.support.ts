import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { mappedMemory, seededRandom, serveMappedMemory, sleep, systemClock } from '../base/index.js';
import { noDoorbell } from './doorbell.js';
import { LocalMaster } from './local-master.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import type { DyingMoment } from './thread-deaths.test.support.js';

/** What a process holds. */
export interface Footprint {
  readonly maps: number;
  readonly mapped: number;
  readonly descriptors: number;
  readonly files: number;
  readonly freeSlots: number;
}

/** What the process of `thread-deaths.test.ts` prints, as JSON. */
export interface ThreadDeaths {
  readonly before: Footprint;
  readonly after: Footprint;
  readonly slots: number;
}

const THREAD = fileURLToPath(new URL('./thread-deaths.test.support.js', import.meta.url));
const MOMENTS: readonly DyingMoment[] = ['mapping', 'writing', 'reading'];
const BATCH = 3;
/** Until so many batches in a row brought nothing new: a young process still gathers stacks and heaps for its threads. */
const CALM_BATCHES = 4;
const WARM_UP_BATCHES_MAX = 20;
const random = seededRandom(1);
const clock = systemClock();

const [, , memoryFolder, deaths] = process.argv;
if (memoryFolder !== undefined && deaths !== undefined) await run(memoryFolder, Number(deaths));

async function run(folder: string, count: number): Promise<void> {
  const master = await LocalMaster.open({
    memory: mappedMemory({ folder }),
    doorbell: noDoorbell(),
    settings: TEST_SETTINGS,
  });
  await warmUp(folder, master);
  const before = footprint(folder, master);
  await kill(count, folder, master);
  const after = footprint(folder, master);
  const said: ThreadDeaths = { before, after, slots: master.arena.slots };
  await master.close();
  process.stdout.write(JSON.stringify(said));
}

async function warmUp(folder: string, master: LocalMaster): Promise<void> {
  let most = 0;
  for (let batch = 0, calm = 0; batch < WARM_UP_BATCHES_MAX && calm < CALM_BATCHES; batch++) {
    await kill(BATCH, folder, master);
    const { maps } = footprint(folder, master);
    calm = maps > most ? 0 : calm + 1;
    most = Math.max(most, maps);
  }
}

async function kill(count: number, folder: string, master: LocalMaster): Promise<void> {
  for (let done = 0; done < count; done += BATCH) {
    await Promise.all(Array.from({ length: BATCH }, (_, i) => killOne(`writer-${i}`, i, folder, master)));
  }
}
/** A writer and its thread, from the first to the last; the thread is terminated in the midst of it. */
async function killOne(name: string, i: number, folder: string, master: LocalMaster): Promise<void> {
  const partition = { partition: name, type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
  const descriptor = { writer: name, epoch: 1, partitions: [partition] };
  await master.register(descriptor);
  const { port1, port2 } = new MessageChannel();
  serveMappedMemory({ folder }, port1);
  const closed = once(port1, 'close');
  const moment = MOMENTS[i % MOMENTS.length] as DyingMoment;
  const worker = new Worker(THREAD, { workerData: { port: port2, descriptor, moment }, transferList: [port2] });
  worker.once('error', (e) => process.stderr.write(`${moment}: ${e}\n`));
  const [begun] = await Promise.race([once(worker, 'message'), once(worker, 'exit')]);
  assert.equal(begun, 'begun');
  await sleep(clock, random.below(20));
  port1.ref();
  await worker.terminate();
  await closed;
  await master.abandoned(name, 1);
  await master.release(name);
}

function footprint(folder: string, master: LocalMaster): Footprint {
  return {
    maps: readFileSync('/proc/self/maps', 'utf8').split('\n').length,
    mapped: readFileSync('/proc/self/maps', 'utf8').split(folder).length,
    descriptors: readdirSync('/proc/self/fd').length,
    files: readdirSync(folder).length,
    freeSlots: master.arena.freeSlots(),
  };
}
