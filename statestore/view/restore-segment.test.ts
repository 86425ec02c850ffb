import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom, silentLogger } from '../../base/index.js';
import { LoadedSegment, type SegmentState } from '../../checkpoint/index.js';
import { Machine } from '../host/machine.test.support.js';
import { StateFolder } from '../host/state-folder.js';
import { StepClock } from '../host/state-world.test.support.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import { FOUND } from './cold-state.js';
import { restoreSegment } from './restore-segment.js';
import { StateView } from './state-view.js';

const range = { first: 0, last: 7 };
const none = new Uint8Array(0);
const bytes = (text: string) => new Uint8Array(Buffer.from(text));

async function folderOf(machine: Machine): Promise<StateFolder> {
  const history = { latest: undefined, kept: [] };
  const surroundings = { clock: new StepClock(), random: seededRandom(1), logger: silentLogger() };
  const process = machine.process();
  const folder = await StateFolder.open({ root: '/s', ...process, ...surroundings, bootId: 'boot', history });
  await folder.startEmpty(range);
  return folder;
}

for (const folded of [false, true]) {
  test(`timers and operator values come into memory, ${folded ? 'from a base' : 'from segments'}; the rest stays beneath`, async () => {
    const machine = new Machine();
    const folder = await folderOf(machine);
    const store = new MemoryStateStore(range, { chainLengthMax: Number.POSITIVE_INFINITY });
    const segmentStates: SegmentState[] = [];
    const removed = store.operatorValue('n1/removed');
    removed.set(bytes('gone'));
    for (let checkpoint = 1; checkpoint <= 3; checkpoint++) {
      for (let keyGroup = 0; keyGroup < 8; keyGroup++) {
        const key = bytes(`key ${keyGroup}`);
        // In several states, so that they alternate within each key group.
        store.timers('n2/timers').add(checkpoint * 10, keyGroup, 7, key, 1);
        store.timers('n10/timers').add(checkpoint, keyGroup, 7, key, 2);
        store.byteTable('n2/values').put(keyGroup, 7, key, none, bytes(`value ${checkpoint}`));
      }
      store.timers('n2/timers').remove(10, 3, 7, bytes('key 3'), 1);
      store.operatorValue('n1/position').set(bytes(`position ${checkpoint}`));
      if (checkpoint === 1) store.operatorValue('n1/table').set(bytes('as it was at first'));
      if (checkpoint === 2) removed.remove();
      const segment = (await store.snapshot(checkpoint).segment).bytes;
      segmentStates.push(...new LoadedSegment(segment).index.states);
      const checksum = await folder.hold(segment);
      await folder.completed({ checkpointId: checkpoint, epoch: 1 }, [{ ...range, checksum }]);
      store.completed(checkpoint);
    }
    if (folded) await folder.fold();
    const { files, bases } = machine.process();
    const view = await StateView.open(folder.describe(), { files, bases, range });
    const segment = await restoreSegment(view, segmentStates);
    const restored = new MemoryStateStore(range);
    restored.restore([segment]);
    for (const name of ['n2/timers', 'n10/timers']) {
      const [expected, found] = [store, restored].map((of) => {
        const all: unknown[] = [];
        for (let timer = of.timers(name).pop(100); timer !== undefined; timer = of.timers(name).pop(100)) {
          all.push({ ...timer, key: Buffer.from(timer.key).toString() });
        }
        return all;
      });
      deepEqual(found, expected);
      equal(found?.length, name === 'n2/timers' ? 23 : 24);
    }
    deepEqual(restored.operatorNames(), ['n1/position', 'n1/table']);
    deepEqual(restored.operatorValue('n1/table').get(), bytes('as it was at first'));
    deepEqual(restored.operatorValue('n1/position').get(), store.operatorValue('n1/position').get());
    equal(restored.byteTable('n2/values').size, 0);
    equal(view.table('n2/values').find(5, bytes('key 5'), none), FOUND);
    await view.close();
    await folder.close();
  });
}
