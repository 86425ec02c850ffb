import { deepEqual, equal, ok } from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { type SteppedWrite, SteppingWriter } from '../segment/stepped-write.test.support.js';
import type { KeyGroupRange, StateSegment, StateStore } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

const groups = 8;
const whole: KeyGroupRange = { first: 0, last: groups - 1 };
const none = new Uint8Array(0);

/** The reference: plain maps, named by what identifies an entry. */
class Model {
  lanes = new Map<string, number>();
  bytes = new Map<string, string>();
  timers = new Map<string, { time: number; key: number; namespace: number }>();
  operator: string | undefined;

  copy(): Model {
    const model = new Model();
    model.lanes = new Map(this.lanes);
    model.bytes = new Map(this.bytes);
    model.timers = new Map(this.timers);
    model.operator = this.operator;
    return model;
  }
}

interface Snapshot {
  readonly checkpointId: number;
  readonly full: boolean;
  readonly write: SteppedWrite;
  readonly model: Model;
  /** The completed chain at the time it was taken. */
  readonly base: readonly Uint8Array[];
}

const utf8 = (text: string) => new Uint8Array(Buffer.from(text));
/** Some keys fit into a record, some do not; some are prefixes of others; of some a few are enough for a heap full of garbage. */
const keyNames = [
  '',
  'a',
  'aa',
  'ab',
  '\tnine-b',
  '\tnine-byt',
  'twelve-bytes',
  'thirteen-bytes-and-more',
  'b',
  'c',
  'd',
];
keyNames.push('long'.repeat(8000), 'longer'.repeat(6000));
const keyBytes = keyNames.map(utf8);
/** Few hashes, so that entries collide. */
const hashOf = (key: number) => (key % 3) * 0x10000001;
const groupOf = (key: number) => key % groups;

type Command =
  | { do: 'setLane'; key: number; namespace: number; value: number }
  | { do: 'removeLane'; key: number; namespace: number }
  | { do: 'put'; key: number; sub: string; value: string }
  | { do: 'removeBytes'; key: number; sub: string }
  | { do: 'addTimer' | 'removeTimer'; time: number; key: number; namespace: number }
  | { do: 'pop'; upTo: number }
  | { do: 'setOperator'; value: string }
  | { do: 'removeOperator' }
  | { do: 'snapshot'; full: boolean }
  | { do: 'write'; which: number; steps: number }
  | { do: 'complete' | 'abort'; which: number; chainAtSnapshot: boolean }
  | { do: 'restart' }
  | { do: 'rescale'; parts: number };

const key = fc.oneof(fc.nat(2), fc.nat(keyNames.length - 1));
const namespace = fc.constantFrom(0, 0, 1, 2, 3, 3_600_000);
/** Large ones fill the heap with garbage soon. */
const value = fc.oneof(
  { weight: 4, arbitrary: fc.string({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.nat(9).map((n) => `${n}`.repeat(9000 + n)) },
);
const sub = fc.constantFrom('', 's', 'a-sub-key-of-some-length');
const time = fc.nat(6);
const changes: fc.Arbitrary<Command>[] = [
  fc.record({ do: fc.constant('setLane'), key, namespace, value: fc.nat(1000) }),
  fc.record({ do: fc.constant('removeLane'), key, namespace }),
  fc.record({ do: fc.constant('put'), key, sub, value }),
  fc.record({ do: fc.constant('removeBytes'), key, sub }),
  fc.record({ do: fc.constantFrom('addTimer', 'removeTimer'), time, key, namespace }),
  fc.record({ do: fc.constant('pop'), upTo: time }),
  fc.record({ do: fc.constant('setOperator'), value: fc.string({ minLength: 1, maxLength: 5 }) }),
  fc.constant({ do: 'removeOperator' as const }),
];
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 10, arbitrary: fc.oneof(...changes) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('snapshot' as const), full: fc.nat(9).map((n) => n === 0) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('write' as const), which: fc.nat(3), steps: fc.nat(6) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('complete' as const, 'complete' as const, 'abort' as const),
      which: fc.nat(3),
      chainAtSnapshot: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ do: 'restart' as const }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rescale' as const), parts: fc.constantFrom(2, 3, groups) }) },
);

/** One store with its coordinator: which snapshots are pending, which chain is complete. */
class Run {
  /** Goes on with what former stores left unwritten. */
  readonly writer = new SteppingWriter();
  store: StateStore = new MemoryStateStore(whole, { writer: this.writer });
  model = new Model();
  pending: Snapshot[] = [];
  chain: readonly Uint8Array[] = [];
  completed = new Model();
  checkpointId = 0;

  apply(c: Command): void {
    if (c.do === 'snapshot') this.#snapshot(c.full);
    else if (c.do === 'write') for (let i = 0; i < c.steps; i++) this.writer.step(c.which);
    else if (c.do === 'complete') this.#complete(c.which, c.chainAtSnapshot);
    else if (c.do === 'abort') this.#abort(c.which);
    else if (c.do === 'restart') this.#restart();
    else if (c.do === 'rescale') this.#rescale(c.parts);
    else change(this.store, this.model, c);
  }

  #snapshot(full: boolean): void {
    const checkpointId = ++this.checkpointId;
    const snapshot = this.store.snapshot(checkpointId, { full });
    ok(snapshot.full || !full);
    const write = this.writer.last;
    this.pending.push({ checkpointId, full: snapshot.full, write, model: this.model.copy(), base: this.chain });
  }

  #complete(which: number, chainAtSnapshot: boolean): void {
    const snapshot = this.pending[which % Math.max(1, this.pending.length)];
    if (snapshot === undefined) return;
    this.pending = this.pending.filter((p) => p.checkpointId > snapshot.checkpointId);
    const { bytes } = snapshot.write.finish();
    this.store.completed(snapshot.checkpointId);
    const base = chainAtSnapshot ? snapshot.base : this.chain;
    this.chain = snapshot.full ? [bytes] : [...base, bytes];
    this.completed = snapshot.model;
    // A full segment of each former owner, at most, before what this store has added.
    ok(this.chain.length <= 17 + groups, 'chains stay short');
  }

  #abort(which: number): void {
    const snapshot = this.pending[which % Math.max(1, this.pending.length)];
    if (snapshot === undefined) return;
    this.pending = this.pending.filter((p) => p !== snapshot);
    this.store.aborted(snapshot.checkpointId);
  }

  #restart(): void {
    this.store = new MemoryStateStore(whole, { writer: this.writer });
    this.store.restore(this.chain);
    this.model = this.completed.copy();
    this.pending = [];
    checkSame(this.store, this.writer, this.model, whole);
  }

  /** Out to several stores and back to one, which goes on. */
  #rescale(parts: number): void {
    const ranges = Array.from({ length: parts }, (_, i) => ({
      first: Math.floor((i * groups) / parts),
      last: Math.floor(((i + 1) * groups) / parts) - 1,
    }));
    const chains = ranges.map((range, i) => {
      const writer = new SteppingWriter();
      const store = new MemoryStateStore(range, { writer });
      store.restore(this.chain);
      checkSame(store, writer, this.completed, range);
      const first = taken(store, writer, 1);
      ok(first.full, 'the first segment after a rescale is full');
      store.completed(1);
      if (i % 2 === 0) return [first.bytes];
      return [first.bytes, taken(store, writer, 2).bytes];
    });
    const chain = chains.toReversed().flat();
    this.store = new MemoryStateStore(whole, { writer: this.writer });
    this.store.restore(chain);
    this.model = this.completed.copy();
    this.pending = [];
    checkSame(this.store, this.writer, this.model, whole);
    const next = taken(this.store, this.writer, ++this.checkpointId);
    this.store.completed(this.checkpointId);
    this.chain = next.full ? [next.bytes] : [...chain, next.bytes];
  }
}

/** A snapshot that is written at once. */
function taken(store: StateStore, writer: SteppingWriter, checkpointId: number, full = false): StateSegment {
  store.snapshot(checkpointId, { full });
  return writer.last.finish();
}

function change(store: StateStore, model: Model, c: Command): void {
  if (c.do === 'setLane' || c.do === 'removeLane') {
    const lanes = store.laneTable('lanes', 2);
    const name = `${c.key}/${c.namespace}`;
    if (c.do === 'setLane') {
      const slot = lanes.upsert(groupOf(c.key), hashOf(c.key), keyBytes[c.key] ?? none, c.namespace);
      equal(lanes.created, !model.lanes.has(name));
      if (lanes.created) deepEqual([lanes.values[slot], lanes.values[slot + 1]], [0, 0]);
      lanes.values[slot + 1] = c.value;
      model.lanes.set(name, c.value);
    } else {
      const slot = lanes.find(groupOf(c.key), hashOf(c.key), keyBytes[c.key] ?? none, c.namespace);
      equal(slot >= 0, model.lanes.delete(name));
      if (slot >= 0) lanes.remove(slot);
    }
  } else if (c.do === 'put') {
    const value = utf8(c.value);
    store.byteTable('bytes').put(groupOf(c.key), hashOf(c.key), keyBytes[c.key] ?? none, utf8(c.sub), value);
    model.bytes.set(`${c.key}/${c.sub}`, c.value);
  } else if (c.do === 'removeBytes') {
    store.byteTable('bytes').remove(groupOf(c.key), hashOf(c.key), keyBytes[c.key] ?? none, utf8(c.sub));
    model.bytes.delete(`${c.key}/${c.sub}`);
  } else if (c.do === 'addTimer' || c.do === 'removeTimer') {
    const timers = store.timers('timers');
    const name = `${c.time}/${c.key}/${c.namespace}`;
    const call = c.do === 'addTimer' ? timers.add.bind(timers) : timers.remove.bind(timers);
    call(c.time, groupOf(c.key), hashOf(c.key), keyBytes[c.key] ?? none, c.namespace);
    if (c.do === 'addTimer') model.timers.set(name, { time: c.time, key: c.key, namespace: c.namespace });
    else model.timers.delete(name);
  } else if (c.do === 'pop') {
    const first = [...model.timers].filter(([, t]) => t.time <= c.upTo).sort(([, s], [, t]) => compareTimers(s, t))[0];
    const popped = store.timers('timers').pop(c.upTo);
    const name = (t: { time: number; key: number; namespace: number }) => [t.time, keyNames[t.key], t.namespace];
    deepEqual(popped && [popped.time, Buffer.from(popped.key).toString(), popped.namespace], first && name(first[1]));
    if (first !== undefined) model.timers.delete(first[0]);
  } else if (c.do === 'setOperator') {
    store.operatorValue('operator').set(utf8(c.value));
    model.operator = c.value;
  } else if (c.do === 'removeOperator') {
    store.operatorValue('operator').remove();
    model.operator = undefined;
  }
}

type ModelTimer = { time: number; key: number; namespace: number };

function compareTimers(a: ModelTimer, b: ModelTimer): number {
  const keys = () => Buffer.compare(keyBytes[a.key] ?? none, keyBytes[b.key] ?? none);
  return a.time - b.time || groupOf(a.key) - groupOf(b.key) || keys() || a.namespace - b.namespace;
}

/** Looks at everything through the SPI, and compares canonical bytes with those of a store made from the model. */
function checkSame(store: StateStore, writer: SteppingWriter, model: Model, range: KeyGroupRange): void {
  const mine = (name: string, at: number) => {
    const group = groupOf(Number(name.split('/')[at]));
    return group >= range.first && group <= range.last;
  };
  const freshWriter = new SteppingWriter();
  const fresh = new MemoryStateStore(range, { writer: freshWriter });
  const lanes = store.laneTable('lanes', 2);
  const bytes = store.byteTable('bytes');
  const timers = store.timers('timers');
  let counts = [0, 0, 0];
  const expect = new Model();
  for (const [name, value] of model.lanes) {
    if (!mine(name, 0)) continue;
    const [k, n] = name.split('/').map(Number) as [number, number];
    const slot = lanes.find(groupOf(k), hashOf(k), keyBytes[k] ?? none, n);
    equal(lanes.values[slot + 1], value);
    change(fresh, expect, { do: 'setLane', key: k, namespace: n, value });
    counts = [(counts[0] ?? 0) + 1, counts[1] ?? 0, counts[2] ?? 0];
  }
  for (const [name, value] of model.bytes) {
    if (!mine(name, 0)) continue;
    const k = Number(name.slice(0, name.indexOf('/')));
    const s = name.slice(name.indexOf('/') + 1);
    const found = bytes.get(groupOf(k), hashOf(k), keyBytes[k] ?? none, utf8(s));
    equal(found && Buffer.from(found).toString(), Buffer.from(utf8(value)).toString());
    change(fresh, expect, { do: 'put', key: k, sub: s, value });
    counts = [counts[0] ?? 0, (counts[1] ?? 0) + 1, counts[2] ?? 0];
  }
  for (const [name, timer] of model.timers) {
    if (!mine(name, 1)) continue;
    change(fresh, expect, { do: 'addTimer', ...timer });
    counts = [counts[0] ?? 0, counts[1] ?? 0, (counts[2] ?? 0) + 1];
  }
  deepEqual([lanes.size, bytes.size, timers.size], counts);
  equal(timers.next, Math.min(...[...expect.timers.values()].map((t) => t.time), Number.POSITIVE_INFINITY));
  const operator = store.operatorValue('operator').get();
  equal(operator && Buffer.from(operator).toString(), model.operator && Buffer.from(utf8(model.operator)).toString());
  if (model.operator !== undefined) change(fresh, expect, { do: 'setOperator', value: model.operator });
  for (const name of ['lanes', 'bytes', 'timers', 'operator']) declare(fresh, name);
  const id = 1_000_000;
  const canonical = taken(fresh, freshWriter, id, true).bytes;
  ok(Buffer.compare(taken(store, writer, id, true).bytes, canonical) === 0, 'canonical bytes differ');
  store.aborted(id);
}

function declare(store: StateStore, name: string): void {
  if (name === 'lanes') store.laneTable(name, 2);
  else if (name === 'bytes') store.byteTable(name);
  else if (name === 'timers') store.timers(name);
  else store.operatorValue(name);
}

it('random changes, snapshots written bit by bit, completions, aborts, restarts and rescales agree with plain maps', () => {
  fc.assert(
    fc.property(fc.array(command, { minLength: 60, maxLength: 200 }), (commands) => {
      const run = new Run();
      for (const c of commands) run.apply(c);
      checkSame(run.store, run.writer, run.model, whole);
      run.apply({ do: 'restart' });
    }),
    { numRuns: 400 },
  );
});

it('timers added, removed and fired at random fire in order', () => {
  const step = fc.record({
    do: fc.constantFrom('addTimer', 'addTimer', 'removeTimer'),
    time: fc.nat(30),
    key,
    namespace,
  });
  const pops = fc.record({ do: fc.constant('pop'), upTo: fc.nat(40) });
  const steps = fc.array(fc.oneof({ weight: 9, arbitrary: step }, { weight: 1, arbitrary: pops }), {
    minLength: 100,
    maxLength: 300,
  }) as fc.Arbitrary<Command[]>;
  fc.assert(
    fc.property(steps, (commands) => {
      const store = new MemoryStateStore(whole);
      const model = new Model();
      for (const c of commands) change(store, model, c);
      while (model.timers.size > 0) change(store, model, { do: 'pop', upTo: 30 });
      equal(store.timers('timers').size, 0);
    }),
    { numRuns: 100 },
  );
});

it('windows made and removed for ever do not grow the tables', () => {
  const store = new MemoryStateStore(whole);
  const lanes = store.laneTable('lanes', 2);
  const bytes = store.byteTable('bytes');
  const long = utf8('a key that does not fit into twelve bytes');
  let capacity = 0;
  for (let window = 0; window < 20_000; window++) {
    lanes.upsert(1, 7, long, window);
    bytes.put(1, 7, long, utf8(`sub-${window}`), new Uint8Array(200).fill(window));
    if (window >= 10) {
      lanes.remove(lanes.find(1, 7, long, window - 10));
      bytes.remove(1, 7, long, utf8(`sub-${window - 10}`));
    }
    if (window % 100 === 0) {
      store.snapshot(window);
      if (window % 300 === 0) store.aborted(window);
      else store.completed(window);
    }
    if (window === 2000) capacity = lanes.values.length;
  }
  equal(lanes.values.length, capacity);
  ok(store.stats().memoryBytes < 300_000, 'garbage is no more than some windows');
  deepEqual([lanes.size, bytes.size, bytes.entries(1, 7, long).length], [10, 10, 10]);
  for (let window = 19_990; window < 20_000; window++) {
    ok(lanes.find(1, 7, long, window) >= 0, 'found after the key heap was compacted');
    const value = bytes.get(1, 7, long, utf8(`sub-${window}`));
    ok(value?.length === 200 && value.every((b) => b === window % 256), 'intact after the value heap was compacted');
  }
  ok(store.stats().bytes < 10_000);
});
