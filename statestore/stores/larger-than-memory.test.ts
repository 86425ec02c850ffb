import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { it } from 'node:test';
import { type Random, seededRandom } from '../../base/index.js';
import { type SteppedWrite, SteppingWriter } from '../segment/stepped-write.test.support.js';
import type { KeyedRows, KeyGroupRange } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import { ColdSegments } from '../view/cold-segments.test.support.js';
import { AWAY } from '../view/cold-state.js';

const groups = 8;
const range: KeyGroupRange = { first: 0, last: groups - 1 };
const keys = 300;
const memoryBytesMax = 30_000;
const subs = ['', 's', 'a-sub-key-of-some-length', 't'].map(utf8);
const namespaces = [0, 0, 0, 60_000];

function utf8(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text));
}

/** Some fit into a record, some do not. */
function keyOf(key: number): Uint8Array {
  return utf8(key % 7 === 0 ? `a key that fits into no record: ${key}` : `k${key}`);
}

const hashOf = (key: number) => Math.imul(key % 250, 0x9e3779b1);
const groupOf = (key: number) => key % groups;

/** The reference: plain maps. */
interface Model {
  readonly lanes: Map<string, number>;
  readonly bytes: Map<string, string>;
  readonly timers: Set<number>;
}

const copyOf = ({ lanes, bytes, timers }: Model): Model => ({
  lanes: new Map(lanes),
  bytes: new Map(bytes),
  timers: new Set(timers),
});

interface Snapshot {
  readonly id: number;
  readonly full: boolean;
  readonly write: SteppedWrite;
  readonly model: Model;
}

/** A store whose memory holds a part of its state, what lies beneath it, and its coordinator. */
class Run {
  readonly random: Random;
  readonly writer = new SteppingWriter();
  readonly cold: ColdSegments[] = [];
  store: MemoryStateStore;
  model: Model = { lanes: new Map(), bytes: new Map(), timers: new Set() };
  pending: Snapshot[] = [];
  chain: readonly Uint8Array[] = [];
  completed: Model = copyOf(this.model);
  /** Completed, and what is beneath has not gone on. */
  ahead: { readonly id: number; readonly chain: readonly Uint8Array[] }[] = [];
  id = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.store = this.#newStore();
  }

  step(): void {
    const { random } = this;
    const what = random.below(20);
    if (what < 9) for (let left = random.below(120); left > 0; left--) this.#change();
    else if (what < 11) this.#upsertAll();
    else if (what < 13) this.#snapshot();
    else if (what < 15) for (let left = random.below(12); left > 0; left--) this.writer.step(random.below(3));
    else if (what < 17) this.#complete();
    else if (what === 17) this.#abort();
    else if (what === 18) this.#advance();
    else if (random.below(6) === 0) this.restart();
  }

  /** Looks at everything there is and some that is not. */
  check(): void {
    for (let key = 0; key < keys; key++) {
      for (const namespace of [0, 60_000]) this.#checkLane(key, namespace);
      for (const [at] of subs.entries()) this.#checkBytes(key, at);
      this.#checkEntries(key);
    }
    equal(this.store.timers('timers').size, this.model.timers.size);
  }

  restart(): void {
    this.store = this.#newStore();
    this.store.restore(this.chain);
    this.model = copyOf(this.completed);
    this.pending = [];
    this.ahead = [];
  }

  #newStore(): MemoryStateStore {
    const cold = new ColdSegments(range, this.chain);
    this.cold.push(cold);
    return new MemoryStateStore(range, {
      writer: this.writer,
      chainLengthMax: Number.POSITIVE_INFINITY,
      cold,
      memoryBytesMax,
    });
  }

  #change(): void {
    const { random, store, model } = this;
    const key = random.below(random.below(3) === 0 ? 20 : keys);
    const at = [groupOf(key), hashOf(key), keyOf(key)] as const;
    const what = random.below(12);
    const sub = random.below(subs.length);
    const namespace = namespaces[random.below(4)] as number;
    if (what < 4) this.#setLane(key, namespace, random.below(1000));
    else if (what === 4) this.#checkLane(key, namespace);
    else if (what === 5) {
      const lanes = store.laneTable('lanes', 2);
      const slot = lanes.find(...at, namespace);
      equal(slot >= 0, model.lanes.delete(`${key}/${namespace}`));
      if (slot >= 0) lanes.remove(slot);
    } else if (what < 8) {
      const value = `${random.below(10)}`.repeat(random.below(120));
      store.byteTable('bytes').put(...at, subs[sub] as Uint8Array, utf8(value));
      model.bytes.set(`${key}/${sub}`, value);
    } else if (what === 8) this.#checkBytes(key, sub);
    else if (what === 9) this.#checkEntries(key);
    else if (what === 10) {
      store.byteTable('bytes').remove(...at, subs[sub] as Uint8Array);
      model.bytes.delete(`${key}/${sub}`);
    } else if (model.timers.delete(key)) store.timers('timers').remove(key, ...at, 0);
    else {
      store.timers('timers').add(key, ...at, 0);
      model.timers.add(key);
    }
  }

  #setLane(key: number, namespace: number, value: number): void {
    const name = `${key}/${namespace}`;
    const lanes = this.store.laneTable('lanes', 2);
    const slot = lanes.upsert(groupOf(key), hashOf(key), keyOf(key), namespace);
    equal(lanes.created, !this.model.lanes.has(name), `created: ${name}`);
    deepEqual([lanes.values[slot], lanes.values[slot + 1]], this.#lanesOf(name));
    lanes.values[slot] = value;
    lanes.values[slot + 1] = value + 0.5;
    this.model.lanes.set(name, value);
  }

  /** A batch of rows, some of them of the same key: all slots are good at the end. */
  #upsertAll(): void {
    const { random, model } = this;
    const rows = Array.from({ length: random.below(60) }, () => random.below(keys));
    const names = rows.map((key) => `${key}/0`);
    const lanes = this.store.laneTable('lanes', 2);
    const slots = new Int32Array(rows.length);
    const created = new Uint8Array(rows.length);
    lanes.upsertAll(rowsOf(rows), slots, created);
    for (const [row, name] of names.entries()) {
      const isFirst = names.indexOf(name) === row;
      equal(created[row] === 1, isFirst && !model.lanes.has(name));
    }
    for (const [row, name] of names.entries()) {
      const slot = slots[row] as number;
      deepEqual([lanes.values[slot], lanes.values[slot + 1]], this.#lanesOf(name));
      const value = random.below(1000);
      lanes.values[slot] = value;
      lanes.values[slot + 1] = value + 0.5;
      model.lanes.set(name, value);
    }
  }

  #lanesOf(name: string): number[] {
    const value = this.model.lanes.get(name);
    return value === undefined ? [0, 0] : [value, value + 0.5];
  }

  #checkLane(key: number, namespace: number): void {
    const name = `${key}/${namespace}`;
    const lanes = this.store.laneTable('lanes', 2);
    const slot = lanes.find(groupOf(key), hashOf(key), keyOf(key), namespace);
    equal(slot >= 0, this.model.lanes.has(name), `lanes of ${name}`);
    if (slot >= 0) deepEqual([lanes.values[slot], lanes.values[slot + 1]], this.#lanesOf(name));
  }

  #checkBytes(key: number, sub: number): void {
    const found = this.store.byteTable('bytes').get(groupOf(key), hashOf(key), keyOf(key), subs[sub] as Uint8Array);
    equal(found && Buffer.from(found).toString(), this.model.bytes.get(`${key}/${sub}`), `bytes of ${key}/${sub}`);
  }

  #checkEntries(key: number): void {
    const found = this.store.byteTable('bytes').entries(groupOf(key), hashOf(key), keyOf(key));
    const expected = [...subs.entries()]
      .sort(([, a], [, b]) => Buffer.compare(a, b))
      .flatMap(([at, sub]) => {
        const value = this.model.bytes.get(`${key}/${at}`);
        return value === undefined ? [] : [[Buffer.from(sub).toString(), value]];
      });
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
    deepEqual(
      found.map(([sub, value]) => [text(sub), text(value)]),
      expected,
    );
  }

  #snapshot(): void {
    const { full } = this.store.snapshot(++this.id);
    this.pending.push({ id: this.id, full, write: this.writer.last, model: copyOf(this.model) });
  }

  #complete(): void {
    const snapshot = this.pending[this.random.below(3)];
    if (snapshot === undefined) return;
    this.pending = this.pending.filter(({ id }) => id > snapshot.id);
    const { bytes } = snapshot.write.finish();
    this.store.completed(snapshot.id);
    this.chain = snapshot.full ? [bytes] : [...this.chain, bytes];
    this.completed = snapshot.model;
    this.ahead.push({ id: snapshot.id, chain: this.chain });
  }

  #abort(): void {
    const at = this.random.below(Math.max(1, this.pending.length));
    const [snapshot] = this.pending.splice(at, 1);
    if (snapshot !== undefined) this.store.aborted(snapshot.id);
  }

  /** What is beneath goes on to one of the completed checkpoints. */
  #advance(): void {
    const at = this.random.below(Math.max(1, this.ahead.length));
    const to = this.ahead[at];
    if (to === undefined) return;
    this.ahead.splice(0, at + 1);
    this.cold.at(-1)?.advance(to.chain);
    if (this.random.below(4) > 0) this.store.advanced(to.id);
  }
}

function rowsOf(rows: readonly number[]): KeyedRows {
  const bytes = rows.map(keyOf);
  const offsets = new Int32Array(rows.length + 1);
  for (const [row, { length }] of bytes.entries()) offsets[row + 1] = (offsets[row] as number) + length;
  const all = new Uint8Array(Buffer.concat([...bytes, new Uint8Array(8)]));
  return {
    rows: rows.length,
    keyGroups: Uint16Array.from(rows, groupOf),
    hashes: Uint32Array.from(rows, hashOf),
    keys: all,
    offsets,
    keyLength: 0,
    view: new DataView(all.buffer),
  };
}

for (let seed = 1; seed <= 12; seed++) {
  it(`state larger than memory is what plain maps hold, whatever is let go of, completed, aborted, lost (seed ${seed})`, () => {
    const run = new Run(seed);
    for (let i = 0; i < 600; i++) run.step();
    run.check();
    run.restart();
    run.check();
    const restored = new MemoryStateStore(range);
    restored.restore(run.chain);
    equal(restored.laneTable('lanes', 2).size, run.model.lanes.size);
    equal(restored.byteTable('bytes').size, run.model.bytes.size);
    const found = run.cold.reduce((sum, cold) => sum + cold.found, 0);
    ok(found > 100, `only ${found} entries were found beneath: this tests nothing`);
  });
}

it('the memory stays within its bound, and so do the bytes really taken, while ten times as much goes through', () => {
  const writer = new SteppingWriter();
  const cold = new ColdSegments(range);
  const bound = 400_000;
  const store = new MemoryStateStore(range, {
    writer,
    chainLengthMax: Number.POSITIVE_INFINITY,
    cold,
    memoryBytesMax: bound,
  });
  const bytes = store.byteTable('bytes');
  const value = new Uint8Array(100);
  let chain: Uint8Array[] = [];
  let most = 0;
  for (let round = 0; round < 80; round++) {
    for (let i = 0; i < 500; i++) {
      const n = round * 500 + i;
      bytes.put(n % groups, hashOf(n), keyOf(n), subs[0] as Uint8Array, value.fill(n));
    }
    const { full } = store.snapshot(round + 1);
    const segment = writer.last.finish().bytes;
    writer.writes.length = 0;
    store.completed(round + 1);
    chain = full ? [segment] : [...chain, segment];
    if (round % 4 === 3) {
      cold.advance(chain);
      store.advanced(round + 1);
    }
    if (round > 10) most = Math.max(most, store.stats().memoryBytes);
  }
  ok(most < bound * 2, `${most} bytes`);
  ok(bytes.size < 8000 && bytes.size > 500, `${bytes.size} entries in memory`);
  for (const n of [0, 1, 499, 20_000, 39_999]) {
    const found = bytes.get(n % groups, hashOf(n), keyOf(n), subs[0] as Uint8Array);
    deepEqual(found, new Uint8Array(100).fill(n));
  }
});

it('what is used stays, what is not goes', () => {
  const writer = new SteppingWriter();
  const cold = new ColdSegments(range);
  const store = new MemoryStateStore(range, { writer, cold, memoryBytesMax: 60_000 });
  const lanes = store.laneTable('lanes', 2);
  const key = (n: number) => [groupOf(n), Math.imul(n, 0x9e3779b1), utf8(`k${n}`), 0] as const;
  for (let n = 0; n < 2000; n++) lanes.upsert(...key(n));
  store.snapshot(1);
  const { bytes } = writer.last.finish();
  store.completed(1);
  cold.advance([bytes]);
  store.advanced(1);
  let fetched = 0;
  for (let n = 0; n < 20_000; n++) {
    const before = cold.found;
    lanes.find(...key(n % 100));
    fetched += cold.found - before;
    lanes.find(...key(100 + (n % 1900)));
    lanes.find(...key(10_000 + n));
  }
  ok(fetched <= 100, `what is in use was let go of ${fetched} times`);
  ok(lanes.size < 1800, `${lanes.size} in memory`);
});

it('nothing is let go of before what lies beneath has gone on to where it is saved', () => {
  const writer = new SteppingWriter();
  const cold = new ColdSegments(range);
  const store = new MemoryStateStore(range, { writer, cold, memoryBytesMax: 1 });
  const lanes = store.laneTable('lanes', 2);
  const fill = () => {
    for (let n = 0; n < 500; n++) lanes.upsert(groupOf(n), n, keyOf(n), 0);
  };
  fill();
  store.snapshot(1);
  const { bytes } = writer.last.finish();
  fill();
  equal(lanes.size, 500);
  store.completed(1);
  for (let n = 0; n < 500; n++) lanes.find(0, n, keyOf(1000 + n), 0);
  equal(lanes.size, 500);
  cold.advance([bytes]);
  store.advanced(1);
  for (let n = 0; n < 500; n++) lanes.find(0, n, keyOf(1000 + n), 0);
  equal(lanes.size, 500, 'all have changed since');
});

it('state that is away is an error, never an absence; and so is one of another width', () => {
  const cold = new ColdSegments(range);
  const writer = new SteppingWriter();
  const chain = new MemoryStateStore(range, { writer });
  chain.laneTable('lanes', 3).upsert(1, 7, utf8('a'), 0);
  chain.snapshot(1);
  const { bytes } = writer.last.finish();
  cold.advance([bytes]);
  const store = new MemoryStateStore(range, { cold, memoryBytesMax: 1000 });
  throws(
    () => {
      store.restore([bytes]);
      store.laneTable('lanes', 2);
    },
    { code: 'STATE_INCOMPATIBLE', kind: 'invalid' },
  );
  const away = { ...cold.table('lanes'), find: () => AWAY as typeof AWAY };
  const elsewhere = new MemoryStateStore(range, {
    cold: { range, isLocal: false, ready: () => undefined, letGo: () => {}, entriesOf: () => [], table: () => away },
    memoryBytesMax: 1000,
  });
  elsewhere.restore([bytes]);
  throws(() => elsewhere.laneTable('lanes', 3).find(1, 7, utf8('a'), 0), { code: 'STATE_AWAY', kind: 'unavailable' });
});
