import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { after, it } from 'node:test';
import { type Random, seededRandom, systemClock, yieldTurn } from '../../base/index.js';
import type { KeyGroupRange, StateStore } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import type { FrozenStates } from './segment-write.js';
import { type StateWriter, writeAtOnce } from './state-writer.js';
import { photograph } from './stepped-write.test.support.js';
import { PortWriter, WriterThread } from './writer-thread.js';

const range: KeyGroupRange = { first: 0, last: 127 };
const clock = systemClock();
const thread = new WriterThread();
after(() => thread.close());

/** Posts to the thread, and keeps what the tables held at the barrier. */
class WitnessingWriter implements StateWriter {
  readonly #writer: StateWriter;
  readonly photographs: FrozenStates[] = [];
  readonly frozen: FrozenStates[] = [];

  constructor(writer: StateWriter) {
    this.#writer = writer;
  }

  write(frozen: FrozenStates): ReturnType<StateWriter['write']> {
    this.photographs.push(photograph(frozen));
    this.frozen.push(frozen);
    return this.#writer.write(frozen);
  }

  /** Records that the task saved while the thread was copying. */
  get saved(): number {
    const logs = this.frozen.flatMap(({ states }) => states.flatMap(({ records }) => records?.log ?? []));
    return logs.reduce((sum, log) => sum + (log[0] as number), 0);
  }
}

const numbers = 6000;

/** Changes something at random, of each kind of state. */
function change(store: StateStore, random: Random, rows: number): void {
  const lanes = store.laneTable('lanes', 2);
  const bytes = store.byteTable('bytes');
  const timers = store.timers('timers');
  const key = new Uint8Array(9).fill(9, 0, 1);
  const long = new Uint8Array(30);
  for (let row = 0; row < rows; row++) {
    const n = random.below(numbers);
    const group = n & 127;
    key[1] = n;
    key[2] = n >> 8;
    long.set(key, 10);
    const name = n % 3 === 0 ? long : key;
    if (random.below(5) === 0) {
      const slot = lanes.find(group, n, name, 0);
      if (slot >= 0) lanes.remove(slot);
      bytes.remove(group, n, name, key);
      timers.remove(n % 50, group, n, name, 0);
      continue;
    }
    const slot = lanes.upsert(group, n, name, 0);
    const value = random.u32();
    // Torn records would show: both lanes, and all bytes of a value, are the same.
    lanes.values[slot] = value;
    lanes.values[slot + 1] = value;
    bytes.put(group, n, name, key, new Uint8Array(random.below(200)).fill(value));
    if (n % 4 === 0) timers.add(n % 50, group, n, name, 0);
  }
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  it(`a thread writes what was there at the barrier, however much changes meanwhile (seed ${seed})`, async () => {
    const random = seededRandom(seed);
    const port = new PortWriter(thread.connect());
    const writer = new WitnessingWriter(port);
    const store = new MemoryStateStore(range, { writer, chainLengthMax: Number.POSITIVE_INFINITY });
    change(store, random, numbers * 2);
    let written = 0;
    let id = 0;
    let completed = 0;
    for (let round = 0; round < 20; round++) {
      change(store, random, random.below(3000));
      const ids = Array.from({ length: 1 + random.below(3) }, () => {
        const { segment } = store.snapshot(++id, { full: random.below(6) === 0 });
        const taken = { id, segment, photograph: writer.photographs.at(-1) as FrozenStates, done: false };
        segment.then(() => {
          taken.done = true;
        });
        change(store, random, random.below(100));
        return taken;
      });
      while (ids.some(({ done }) => !done)) {
        change(store, random, 300);
        await yieldTurn(clock);
      }
      for (const taken of ids) {
        const { bytes } = await taken.segment;
        ok(Buffer.compare(bytes, writeAtOnce(taken.photograph).bytes) === 0, `segment ${taken.id} is another one`);
        written++;
        if (random.below(3) === 0) store.aborted(taken.id);
        else if (random.below(2) === 0) {
          store.completed(taken.id);
          completed++;
        }
      }
    }
    ok(written >= 20 && completed > 0);
    ok(writer.saved > 100, `only ${writer.saved} records were changed while they were copied: this tests nothing`);
    port.close();
  });
}

it('several stores on one thread get their own segments', async () => {
  const ports = [1, 2, 3].map(() => new PortWriter(thread.connect()));
  const stores = ports.map((writer) => new MemoryStateStore(range, { writer }));
  stores.forEach((store, i) => {
    store.operatorValue('name').set(Uint8Array.of(i + 1));
  });
  const segments = await Promise.all(stores.map((store) => store.snapshot(1).segment));
  segments.forEach(({ bytes }, i) => {
    const copy = new MemoryStateStore(range);
    copy.restore([bytes]);
    deepEqual(copy.operatorValue('name').get(), Uint8Array.of(i + 1));
  });
  for (const port of ports) port.close();
});

it('a write that fails is told, and what it did not write is in the next segment', async () => {
  const port = new PortWriter(thread.connect());
  let broken = true;
  const writer: StateWriter = {
    write: (frozen) => port.write(broken ? { ...frozen, range: { first: 100, last: 127 } } : frozen),
  };
  const store = new MemoryStateStore(range, { writer });
  const lanes = store.laneTable('lanes', 1);
  const slot = lanes.upsert(1, 7, Uint8Array.of(1), 0);
  lanes.values[slot] = 5;
  await rejects(store.snapshot(1).segment, /key group 1 is not the segment's/);
  store.aborted(1);
  broken = false;
  equal((await store.snapshot(2).segment).entries, 1);
  port.close();
});

it('when the thread is gone, whoever waits for a segment hears of it, and a new one is begun for the next', async () => {
  const mortal = new WriterThread();
  const port = new PortWriter(mortal.connect());
  const store = new MemoryStateStore(range, { writer: port });
  equal((await store.snapshot(1).segment).full, true);
  const lost = rejects(
    (async () => {
      for (let id = 2; ; id++) {
        change(store, seededRandom(id), 100);
        await store.snapshot(id).segment;
      }
    })(),
    { code: 'STATE_WRITER_LOST', kind: 'unavailable' },
  );
  await mortal.close();
  await lost;
  await port.closed;
  await rejects(store.snapshot(1_000_000).segment, { code: 'STATE_WRITER_LOST' });
  const next = new PortWriter(mortal.connect());
  const other = new MemoryStateStore(range, { writer: next });
  equal((await other.snapshot(1).segment).full, true);
  next.close();
  await mortal.close();
});
