import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareBytes } from '../../checkpoint/index.js';
import { BaseBatch, BaseFinder, BaseWalk } from './base-entries.js';
import { BaseKeyWriter } from './base-key.js';
import { MemoryBaseStores } from './memory-base-store.js';

interface Entry {
  readonly keyGroup: number;
  readonly state: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  readonly payload: string | undefined;
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** Short ones, and ones around the longest key of a record, many of which begin alike. */
const part = fc
  .tuple(fc.constantFrom(0, 1, 500, 1010, 1015, 1016, 1017, 1018, 1019, 1030, 2500), fc.constantFrom('', 'x', 'y'))
  .map(([length, end]) => bytes('a'.repeat(length) + end));
const entry: fc.Arbitrary<Entry> = fc.record({
  keyGroup: fc.constantFrom(0, 3),
  state: fc.constantFrom(0, 1),
  key: part,
  sub: fc.oneof(fc.constant(bytes('')), part),
  payload: fc.oneof(
    { weight: 3, arbitrary: fc.string({ maxLength: 20 }) },
    { weight: 1, arbitrary: fc.constant(undefined) },
  ),
});

const compare = (a: Entry, b: Entry) =>
  a.keyGroup - b.keyGroup || a.state - b.state || compareBytes(a.key, b.key) || compareBytes(a.sub, b.sub);
const nameOf = ({ keyGroup, state, key, sub }: Entry) =>
  `${keyGroup}/${state}/${Buffer.from(key).toString('hex')}/${Buffer.from(sub).toString('hex')}`;

test('entries with keys of any length are put, removed, found and walked in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(entry, { maxLength: 6 }), { maxLength: 6 }), async (batches) => {
      const store = await new MemoryBaseStores().openWritable('/base');
      const model = new Map<string, Entry>();
      const batch = new BaseBatch();
      for (const entries of batches) {
        batch.clear();
        for (const e of entries) {
          const joined = Buffer.concat([bytes('before'), e.key, e.sub, bytes(e.payload ?? '')]);
          const keyEnd = 6 + e.key.length;
          const subEnd = keyEnd + e.sub.length;
          if (e.payload === undefined) batch.remove(e.keyGroup, e.state, joined, 6, keyEnd, subEnd);
          else batch.put(e.keyGroup, e.state, joined, 6, keyEnd, subEnd, joined.length);
          model.set(nameOf(e), e);
        }
        equal(batch.count, entries.length);
        store.write((t) => batch.apply(t));
      }
      const snapshot = store.snapshot();
      const finder = new BaseFinder(snapshot);
      for (const e of model.values()) {
        equal(finder.find(e.keyGroup, e.state, e.key, e.sub), e.payload !== undefined);
        if (e.payload === undefined) continue;
        equal(Buffer.from(finder.bytes.subarray(finder.start, finder.end)).toString(), e.payload);
      }
      const from = new BaseKeyWriter().keyGroup(0);
      const walk = new BaseWalk(snapshot, from.key, new BaseKeyWriter().keyGroup(3).after().key);
      const walked: string[] = [];
      while (walk.next()) {
        const { keyGroup, state, keyEnd, subEnd, payloadEnd } = walk;
        const payload = Buffer.from(walk.bytes.subarray(subEnd, payloadEnd)).toString();
        const found = { keyGroup, state, key: walk.bytes.slice(0, keyEnd), sub: walk.bytes.slice(keyEnd, subEnd) };
        walked.push(`${nameOf({ ...found, payload })}=${payload}`);
      }
      const live = [...model.values()].filter((e) => e.payload !== undefined).sort(compare);
      deepEqual(
        walked,
        live.map((e) => `${nameOf(e)}=${e.payload}`),
      );
    }),
    { numRuns: 300 },
  );
});

test('a removal at which a batch grows was put as an empty entry', async () => {
  const store = await new MemoryBaseStores().openWritable('base');
  const keyOf = (i: number) => bytes(`key ${i}`);
  const batch = new BaseBatch();
  const count = 10_000;
  for (let i = 0; i < count; i++)
    batch.put(0, 0, Buffer.concat([keyOf(i), bytes('!')]), 0, keyOf(i).length, keyOf(i).length, keyOf(i).length + 1);
  store.write((t) => batch.apply(t));
  batch.clear();
  const other = new BaseBatch();
  for (let i = 0; i < count; i++) other.remove(0, 0, keyOf(i), 0, keyOf(i).length, keyOf(i).length);
  store.write((t) => other.apply(t));
  equal(store.stats().entries, 0);
});
