import { deepEqual, equal, throws } from 'node:assert/strict';
import { it } from 'node:test';
import { MapState } from './map-state.js';
import { MemoryStateStore } from './memory-state-store.js';
import { type StateCodec, ValueState } from './value-state.js';

const text: StateCodec<string> = {
  encode: (value) => new Uint8Array(Buffer.from(value)),
  decode: (bytes) => Buffer.from(bytes).toString(),
};
const json: StateCodec<{ n: number }> = {
  encode: (value) => text.encode(JSON.stringify(value)),
  decode: (bytes) => JSON.parse(text.decode(bytes)),
};
const keyOf = (name: string) => ({ keyGroup: name.length, hash: 3, key: text.encode(name) });

it('value state is per key, and what it returns is a copy', () => {
  const current = { ...keyOf('a') };
  const state = new ValueState(new MemoryStateStore({ first: 0, last: 9 }).byteTable('v'), current, json);
  equal(state.get(), undefined);
  state.set({ n: 1 });
  const seen = state.get();
  if (seen !== undefined) seen.n = 9;
  deepEqual(state.get(), { n: 1 });
  Object.assign(current, keyOf('bb'));
  equal(state.get(), undefined);
  state.set({ n: 2 });
  Object.assign(current, keyOf('a'));
  state.clear();
  equal(state.get(), undefined);
  Object.assign(current, keyOf('bb'));
  deepEqual(state.get(), { n: 2 });
});

it('map state iterates in key order over what was there at the start', () => {
  const current = { ...keyOf('a') };
  const state = new MapState(new MemoryStateStore({ first: 0, last: 9 }).byteTable('m'), current, text, json);
  for (const k of ['c', 'a', 'b']) state.set(k, { n: k.charCodeAt(0) });
  const seen: string[] = [];
  for (const [k] of state.entries()) {
    seen.push(k);
    state.delete('c');
    state.set('z', { n: 0 });
  }
  deepEqual(seen, ['a', 'b', 'c']);
  deepEqual([state.has('c'), state.get('b'), state.get('z')], [false, { n: 98 }, { n: 0 }]);
  Object.assign(current, keyOf('bb'));
  deepEqual(state.entries(), []);
  state.set('x', { n: 1 });
  Object.assign(current, keyOf('a'));
  state.clear();
  deepEqual(state.entries(), []);
  Object.assign(current, keyOf('bb'));
  equal(state.entries().length, 1);
  throws(() => state.set('', { n: 1 }), /empty/);
});
