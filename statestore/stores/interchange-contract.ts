import { deepEqual, equal, ok } from 'node:assert/strict';
import { seededRandom } from '../../base/index.js';
import type { KeyGroupRange, StateStore, Timer } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import type { StateStoreContractCase } from './state-store-contract-case.js';

const all: KeyGroupRange = { first: 0, last: 127 };
const groups = [0, 3, 64, 127];
const namespaces = [0, -1, 60_000, 2 ** 45, Number.NEGATIVE_INFINITY];
const values = [0, -0, 1.5, Number.NaN, Number.POSITIVE_INFINITY, -7];
const keys = ['', 'a', 'ab', '\0', '\0\0b', 'twelve bytes', 'x'.repeat(40), 'y'.repeat(1500), `${'y'.repeat(1500)}\0z`];
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'));

/** One step that is chosen by `pick`, on a store. */
function step(store: StateStore, pick: (n: number) => number, i: number): void {
  const keyGroup = groups[pick(groups.length)] as number;
  const hash = 7 + keyGroup;
  const key = bytes(keys[pick(keys.length)] as string);
  const namespace = namespaces[pick(namespaces.length)] as number;
  const sub = bytes(keys[pick(keys.length)] as string);
  const lanes = store.laneTable('lanes', 2);
  const map = store.byteTable(pick(3) === 0 ? 'other' : 'map');
  const timers = store.timers('timers');
  const offset = store.operatorValue(`offset-${pick(2)}`);
  switch (pick(8)) {
    case 0:
    case 1: {
      const slot = lanes.upsert(keyGroup, hash, key, namespace);
      lanes.values[slot + pick(2)] = values[pick(values.length)] as number;
      break;
    }
    case 2: {
      const slot = lanes.find(keyGroup, hash, key, namespace);
      if (slot >= 0) lanes.remove(slot);
      break;
    }
    case 3:
    case 4:
      map.put(keyGroup, hash, key, sub, bytes(`${i}`.repeat(1 + pick(40))));
      break;
    case 5:
      map.remove(keyGroup, hash, key, sub);
      break;
    case 6: {
      const what = pick(5);
      if (what === 0) timers.pop(namespace);
      else if (what === 1) timers.remove(namespace, keyGroup, hash, key, 1);
      else timers.add(namespace, keyGroup, hash, key, 1);
      break;
    }
    default:
      if (pick(4) === 0) offset.remove();
      else offset.set(bytes(`${i}`));
  }
}

/** Segments are everybody's: merged, queried, and gone on from, whoever wrote them. */
export const interchangeContract: readonly StateStoreContractCase[] = [
  {
    name: 'segments are byte for byte those of the memory store, through completed and aborted checkpoints and restores',
    async run(make) {
      for (let seed = 1; seed <= 4; seed++) {
        const random = seededRandom(seed);
        let mine = make(all);
        let theirs: StateStore = new MemoryStateStore(all);
        let chain: Uint8Array[] = [];
        for (let checkpoint = 1; checkpoint <= 12; checkpoint++) {
          const steps = random.below(40);
          for (let i = 0; i < steps; i++) {
            const choices = Array.from({ length: 12 }, () => random.float());
            for (const store of [mine, theirs]) {
              let at = 0;
              step(store, (n) => Math.floor((choices[at++] as number) * n), i);
            }
          }
          const options = { full: random.below(5) === 0 };
          const context = `seed ${seed}, checkpoint ${checkpoint}`;
          const [written, expected] = await Promise.all(
            [mine, theirs].map((store) => store.snapshot(checkpoint, options).segment),
          );
          ok(written !== undefined && expected !== undefined);
          deepEqual([written.full, written.entries, written.empty], [expected.full, expected.entries, expected.empty]);
          equal(Buffer.from(written.bytes).toString('hex'), Buffer.from(expected.bytes).toString('hex'), context);
          if (random.below(3) === 0) {
            for (const store of [mine, theirs]) store.aborted(checkpoint);
            continue;
          }
          for (const store of [mine, theirs]) store.completed(checkpoint);
          chain = written.full ? [written.bytes] : [...chain, written.bytes];
          if (random.below(4) > 0) continue;
          // Each goes on from where the other one was.
          [mine, theirs] = [make(all), new MemoryStateStore(all)];
          for (const store of [mine, theirs]) store.restore(chain);
          equal(mine.stats().entries, theirs.stats().entries, context);
        }
        const fired = [mine, theirs].map((store) => {
          const timers = store.timers('timers');
          const popped: Timer[] = [];
          const due = timers.due(2 ** 49, 700);
          for (let timer = timers.pop(2 ** 50); timer !== undefined; timer = timers.pop(2 ** 50)) popped.push(timer);
          deepEqual(due, popped.filter(({ time }) => time <= 2 ** 49).slice(0, 700), `seed ${seed}`);
          return popped.map((timer) => ({ ...timer, key: Buffer.from(timer.key).toString('latin1') }));
        });
        deepEqual(fired[0], fired[1], `seed ${seed}`);
      }
    },
  },
  {
    name: 'many entries: more than are kept at hand, found, walked, written and fired in order',
    async run(make) {
      const store = make(all);
      const lanes = store.laneTable('lanes', 1);
      const map = store.byteTable('map');
      const timers = store.timers('timers');
      const count = 20_000;
      const keyOf = (i: number) => bytes(`key ${i}`);
      for (let i = 0; i < count; i++) {
        const slot = lanes.upsert(i % 128, i, keyOf(i), i % 7);
        lanes.values[slot] = i;
        map.put(5, 5, bytes('one'), keyOf(i), keyOf(i));
        timers.add((i * 7919) % count, i % 128, i, keyOf(i), 0);
      }
      equal(map.entries(5, 5, bytes('one')).length, count);
      for (let i = 0; i < count; i += 1 + (i % 3)) {
        const slot = lanes.find(i % 128, i, keyOf(i), i % 7);
        equal(lanes.values[slot], i);
        lanes.touch(slot);
        lanes.values[slot] = -i;
      }
      const copy = new MemoryStateStore(all);
      copy.restore([(await store.snapshot(1).segment).bytes]);
      equal(copy.stats().entries, 3 * count);
      const found = copy.laneTable('lanes', 1);
      for (let i = 0, changed = 0; i < count; i++) {
        const value = found.values[found.find(i % 128, i, keyOf(i), i % 7)];
        equal(value, i === changed ? -i : i);
        if (i === changed) changed += 1 + (i % 3);
      }
      for (let time = 0; time < count; time++) equal(timers.pop(Number.POSITIVE_INFINITY)?.time, time);
      equal(timers.size, 0);
    },
  },
];
