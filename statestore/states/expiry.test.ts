import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { it } from 'node:test';
import { encodeKeyValues } from '../../base/columnar/index.js';
import type { LaneAggregate } from './aggregates-state.js';
import type { TtlSettings } from './expiry.js';
import { KeyedStates } from './keyed-states.js';
import { aggregatesState, listState, mapState, reducingState, type StatesOf, valueState } from './state-specs.js';
import { StoreAtOnce } from './store-at-once.test.support.js';

const count: LaneAggregate<unknown, 'int64'> = {
  type: 'int64',
  of: 'count',
  lanes: 1,
  add: (lanes, at) => {
    lanes[at] = (lanes[at] as number) + 1;
  },
  result: (lanes, at) => lanes[at] as number,
};
const specs = (ttl?: TtlSettings) => {
  const options = ttl === undefined ? {} : { ttl };
  return {
    value: valueState('int32', options),
    list: listState('int32', options),
    map: mapState('utf8', 'int32', options),
    reducing: reducingState('int32', (a, b) => a + b, options),
    aggregates: aggregatesState({ n: count }, options),
  };
};
type States = StatesOf<ReturnType<typeof specs>>;

/** One attempt of a task at a time; `time` is task time. */
class Fixture {
  time = 1000;
  chain: Uint8Array[] = [];
  store: StoreAtOnce = new StoreAtOnce({ first: 0, last: 127 });
  keyed: KeyedStates;
  states: States;
  #checkpoint = 0;

  constructor(ttl?: TtlSettings) {
    [this.keyed, this.states] = this.#open(ttl);
    this.at('a');
  }

  at(key: string): States {
    this.keyed.setKey(key.length, 7, encodeKeyValues(['utf8'], [key]));
    return this.states;
  }

  /** A checkpoint, and a new attempt from it, perhaps of a new version of the job. */
  restart(ttl?: TtlSettings): void {
    const { bytes, full } = this.store.snapshotAtOnce(++this.#checkpoint);
    this.chain = full ? [bytes] : [...this.chain, bytes];
    this.store = new StoreAtOnce({ first: 0, last: 127 });
    this.store.restore(this.chain);
    [this.keyed, this.states] = this.#open(ttl);
    this.at('a');
  }

  write(by = 1): void {
    const { value, list, map, reducing, aggregates } = this.states;
    value.set(by);
    list.add(by);
    map.set(`k${by}`, by);
    reducing.add(by);
    aggregates.add({});
  }

  read(): unknown[] {
    const { value, list, map, reducing, aggregates } = this.states;
    return [value.get(), list.get(), map.entries(), reducing.get(), aggregates.get()?.n];
  }

  #open(ttl: TtlSettings | undefined): [KeyedStates, States] {
    const keyed = new KeyedStates({ store: this.store, prefix: 'n1/', key: ['utf8'], now: () => this.time });
    return [keyed, keyed.open(specs(ttl))];
  }
}

const written = [1, [1], [['k1', 1]], 1, 1];
const nothing = [undefined, [], [], undefined, undefined];

it('an entry is there until its time, and never after it', () => {
  const fixture = new Fixture({ ms: 100 });
  fixture.write();
  fixture.time += 99;
  deepEqual(fixture.read(), written);
  fixture.time += 1;
  deepEqual(fixture.read(), nothing);
  equal(fixture.store.stats().entries, 0, 'what is met expired is removed');
  fixture.write();
  deepEqual(fixture.read(), written, 'and begins anew');
});

it('refresh on write: each write is a new life; on read: each read, too', () => {
  for (const refresh of ['write', 'read'] as const) {
    const fixture = new Fixture({ ms: 100, refresh });
    fixture.write();
    for (let i = 0; i < 5; i++) {
      fixture.time += 60;
      const seen = fixture.read();
      deepEqual(seen, refresh === 'read' || i === 0 ? written : nothing, `${refresh} ${i}`);
    }
    fixture.restart({ ms: 100, refresh });
    deepEqual(fixture.read(), refresh === 'read' ? written : nothing);
  }
  const fixture = new Fixture({ ms: 100 });
  for (let i = 0; i < 5; i++) {
    fixture.time += 60;
    fixture.states.value.set(i);
    fixture.states.reducing.add(1);
    fixture.states.aggregates.add({});
  }
  deepEqual([fixture.states.reducing.get(), fixture.states.aggregates.get()], [5, { n: 5 }]);
});

it('entries of a map and elements of a list expire one by one', () => {
  const fixture = new Fixture({ ms: 100 });
  for (let i = 0; i < 4; i++) {
    fixture.states.map.set(`k${i}`, i);
    fixture.states.list.add(i);
    fixture.time += 30;
  }
  // 0 and 1 were written 120 and 90 ms ago.
  deepEqual(fixture.states.map.keys(), ['k1', 'k2', 'k3']);
  deepEqual(fixture.states.list.get(), [1, 2, 3]);
  equal(fixture.states.map.get('k0'), undefined);
  fixture.restart({ ms: 100 });
  fixture.time += 50;
  fixture.states.list.add(9);
  deepEqual([fixture.states.map.keys(), fixture.states.list.get()], [['k3'], [3, 9]]);
});

it('TTL switched on over old state: it lives for one time to live from then on', () => {
  const fixture = new Fixture();
  fixture.write();
  fixture.time += 1_000_000;
  fixture.restart({ ms: 100 });
  deepEqual(fixture.read(), written, 'nothing is gone the moment it is switched on');
  fixture.time += 60;
  fixture.restart({ ms: 100 });
  fixture.time += 39;
  deepEqual(fixture.read(), written);
  fixture.time += 1;
  deepEqual(fixture.read(), nothing, 'a restart does not count from the start');
});

it('TTL off and on again without migration: entries with an expiry are read, and stay', () => {
  const fixture = new Fixture({ ms: 100 });
  fixture.write();
  fixture.time += 50;
  fixture.restart();
  fixture.time += 1_000_000;
  deepEqual(fixture.read(), written);
  fixture.restart({ ms: 100 });
  deepEqual(fixture.read(), written, 'on once more: stamps of the first time take nothing away');
  fixture.time += 100;
  deepEqual(fixture.read(), nothing);
});

it('a changed time to live goes for what is written from then on', () => {
  const fixture = new Fixture({ ms: 100 });
  fixture.write();
  fixture.restart({ ms: 10 });
  fixture.time += 99;
  deepEqual(fixture.read(), written);
  fixture.write(1);
  fixture.time += 9;
  deepEqual([fixture.states.value.get(), fixture.states.list.get()], [1, [1]]);
  fixture.time += 1;
  deepEqual(fixture.read(), nothing);
});

it('a sweep removes what is expired, with a bound a call, and nothing else', () => {
  const fixture = new Fixture({ ms: 100 });
  for (let i = 0; i < 100; i++) {
    fixture.at(`old${i}`);
    fixture.write(i);
    fixture.write(i + 1);
  }
  fixture.time += 60;
  for (let i = 0; i < 50; i++) {
    fixture.at(`new${i}`);
    fixture.write(i);
  }
  const before = fixture.store.stats().entries;
  fixture.time += 40;
  let removed = 0;
  for (let call = 0; call < 400; call++) {
    const entries = fixture.store.stats().entries;
    fixture.keyed.sweep(10);
    // A list's head goes with its last element.
    const gone = entries - fixture.store.stats().entries;
    ok(gone <= 20, `${gone} in one call`);
    removed += gone;
  }
  // Per key: value, head, two elements, two map entries, reducing, aggregates; of new ones one element and map entry.
  deepEqual([before, removed], [100 * 8 + 50 * 6, 100 * 8]);
  for (let i = 0; i < 50; i++) {
    fixture.at(`new${i}`);
    deepEqual(fixture.read(), [i, [i], [[`k${i}`, i]], i, 1]);
  }
});

it('without a TTL a sweep looks at nothing', () => {
  const fixture = new Fixture();
  fixture.write();
  fixture.time += 1e12;
  for (let i = 0; i < 10; i++) fixture.keyed.sweep(1000);
  deepEqual(fixture.read(), written);
});

it('a state without TTL carries no stamp, one with it eight bytes an entry', () => {
  const bytes = (ttl?: TtlSettings) => {
    const fixture = new Fixture(ttl);
    fixture.states.value.set(5);
    return fixture.store.stats().bytes;
  };
  // The record of when TTL was switched on, 16 bytes for each of five states, and the one stamp.
  equal(bytes({ ms: 5 }) - bytes(), 5 * 16 + 8);
});

it('settings that are misspelt or senseless are refused by name', () => {
  const open = (ttl: object) => () =>
    new KeyedStates({ store: new StoreAtOnce({ first: 0, last: 127 }), key: ['utf8'], now: () => 1 }).open({
      seen: valueState('int64', { ttl: ttl as { ms: number } }),
    });
  throws(open({ ms: 0 }), { code: 'STATE_TTL', message: /"seen": ttl\.ms is 0/ });
  throws(open({ ms: Number.NaN }), { code: 'STATE_TTL' });
  throws(open({}), { code: 'STATE_TTL', message: /ttl\.ms is undefined/ });
  throws(open({ ms: 1, refresh: 'reads' }), { code: 'STATE_TTL', message: /ttl\.refresh is "reads"/ });
  throws(open({ ms: 1, update: 'read' }), { code: 'STATE_TTL', message: /ttl\.update is no setting/ });
});
