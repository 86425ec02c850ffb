import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareBytes } from '../../checkpoint/index.js';
import { BaseKeyReader, BaseKeyWriter } from './base-key.js';

interface Identity {
  readonly keyGroup: number;
  readonly state: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
}

function encode({ keyGroup, state, key, sub }: Identity, writer = new BaseKeyWriter()): Uint8Array {
  writer.keyGroup(keyGroup).state(state).part(key, 0, key.length).part(sub, 0, sub.length);
  return writer.key.slice();
}

function compare(a: Identity, b: Identity): number {
  return a.keyGroup - b.keyGroup || a.state - b.state || compareBytes(a.key, b.key) || compareBytes(a.sub, b.sub);
}

/** Few different bytes, zeros above all, and runs of them around the lengths where the code changes. */
const pieces = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom([0], [0, 0], [1], [255], [128], [0, 1], [2]) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(125, 126, 127, 128, 253, 254, 255, 300).map((n) => new Array<number>(n).fill(0)),
  },
);
const part = fc.array(pieces, { maxLength: 5 }).map((all) => new Uint8Array(all.flat()));
const identity: fc.Arbitrary<Identity> = fc.record({
  keyGroup: fc.constantFrom(0, 1, 127, 255, 256, 0xfffe, 0xffff),
  state: fc.constantFrom(0, 1, 254, 255, 256, 1000, 0xfeff),
  key: part,
  sub: part,
});

test('keys are ordered as what they stand for, and are read back', () => {
  const writer = new BaseKeyWriter();
  const reader = new BaseKeyReader();
  fc.assert(
    fc.property(identity, identity, (a, b) => {
      const keyA = encode(a, writer);
      const keyB = encode(b, writer);
      equal(Math.sign(compareBytes(keyA, keyB)), Math.sign(compare(a, b)));
      reader.read(keyA);
      deepEqual([reader.keyGroup, reader.state], [a.keyGroup, a.state]);
      deepEqual(reader.bytes.slice(0, reader.keyEnd), a.key);
      deepEqual(reader.bytes.slice(reader.keyEnd, reader.subEnd), a.sub);
    }),
    { numRuns: 5000 },
  );
});

test('bounds lie between what begins so and what does not', () => {
  fc.assert(
    fc.property(identity, identity, fc.constantFrom(1, 2, 3), (a, b, depth) => {
      const writer = new BaseKeyWriter().keyGroup(a.keyGroup);
      if (depth > 1) writer.state(a.state);
      if (depth > 2) writer.part(a.key, 0, a.key.length);
      const from = writer.key.slice();
      const to = writer.after().key.slice();
      const key = encode(b);
      const same =
        a.keyGroup === b.keyGroup &&
        (depth < 2 || a.state === b.state) &&
        (depth < 3 || compareBytes(a.key, b.key) === 0);
      equal(compareBytes(from, key) <= 0 && compareBytes(key, to) < 0, same);
    }),
    { numRuns: 5000 },
  );
});

test('a number as a key takes no more than its own bytes', () => {
  const key = Uint8Array.of(0x09, 0x80, 0, 0, 0, 0, 1, 0x86, 0xa0);
  const namespace = Uint8Array.of(0x80, 0, 0, 0, 0, 0, 0, 0);
  const { length } = encode({ keyGroup: 5, state: 1, key, sub: namespace });
  ok(length <= 2 + 1 + key.length + 3, `${length} bytes`);
});
