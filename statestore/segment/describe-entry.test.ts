import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeKeyValues } from '../../base/columnar/index.js';
import { LoadedSegment, SegmentCursor } from '../../checkpoint/index.js';
import { StoreAtOnce } from '../states/store-at-once.test.support.js';
import { describeEntry, type EntryDescription } from './describe-entry.js';

test('entries of every kind say what was put', () => {
  const store = new StoreAtOnce({ first: 0, last: 7 });
  const key = encodeKeyValues(['utf8'], ['JFK']);
  const lanes = store.laneTable('lanes', 2);
  const slot = lanes.upsert(3, 99, key, -60_000);
  lanes.values.set([4, 0.5], slot);
  store.byteTable('bytes').put(3, 99, key, Buffer.from('sub'), Buffer.from('value'));
  store.byteTable('bytes').put(4, 99, key, new Uint8Array(0), Buffer.from('plain'));
  store.timers('timers').add(1234.5, 5, 99, key, 17);
  store.operatorValue('operator').set(Buffer.from('x'));

  const segment = new LoadedSegment(store.snapshotAtOnce(1).bytes);
  const cursor = new SegmentCursor();
  const found: [string, EntryDescription][] = [];
  for (let at = 0; at < segment.index.blocks.length; at++) {
    cursor.load(segment.block(at));
    while (cursor.next()) {
      const state = segment.index.states[cursor.state];
      if (state === undefined) throw new Error('no state');
      assert.deepEqual(cursor.key, key);
      found.push([state.name, describeEntry(state, cursor.sub.slice(), cursor.payload.slice())]);
      const { value: _, ...identity } = describeEntry(state, cursor.sub.slice(), cursor.payload.slice());
      assert.deepEqual(describeEntry(state, cursor.sub.slice(), undefined), identity);
    }
  }
  const bytes = (text: string) => Uint8Array.from(Buffer.from(text));
  assert.deepEqual(found, [
    ['bytes', { sub: bytes('sub'), value: bytes('value') }],
    ['lanes', { namespace: -60_000, value: [4, 0.5] }],
    ['bytes', { value: bytes('plain') }],
    ['timers', { time: 1234.5, namespace: 17 }],
  ]);
});

test('what is no entry of such a state is refused', () => {
  const store = new StoreAtOnce({ first: 0, last: 7 });
  store.laneTable('lanes', 2).upsert(3, 99, Uint8Array.of(1), 0);
  const [state] = new LoadedSegment(store.snapshotAtOnce(1).bytes).index.states;
  if (state === undefined) throw new Error('no state');
  const refused = { code: 'SEGMENT_CORRUPT' };
  assert.throws(() => describeEntry(state, new Uint8Array(8), new Uint8Array(9)), refused);
  assert.throws(
    () => describeEntry({ ...state, meta: Uint8Array.of(99, 0, 0, 0, 0) }, new Uint8Array(8), undefined),
    refused,
  );
});
