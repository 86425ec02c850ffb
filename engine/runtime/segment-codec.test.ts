import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { segment, u16, u32, u53 } from './control-messages.test.support.js';
import {
  decodeCompact,
  decodeCompacted,
  decodeFetch,
  decodeForget,
  decodeHold,
  decodePersist,
  decodePersisted,
  encodeCompact,
  encodeCompacted,
  encodeFetch,
  encodeForget,
  encodeHold,
  encodePersist,
  encodePersisted,
} from './segment-codec.js';

fc.configureGlobal({ includeErrorInReport: true });

const flat = { noNullPrototype: true };

function codec<T>(
  name: string,
  values: fc.Arbitrary<T>,
  encode: (value: T) => Uint8Array,
  decode: (bytes: Uint8Array) => T,
): void {
  test(`${name}: what is encoded is what is decoded`, () => {
    fc.assert(fc.property(values, (value) => assert.deepEqual(decode(encode(value)), value)));
  });

  test(`${name}: cut short or damaged it is CONTROL_CORRUPT`, () => {
    const broken = fc
      .tuple(values, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean())
      .map(([value, n, flip, cut]) => {
        const bytes = encode(value).slice();
        // A held segment's own bytes carry a checksum of their own (statestore).
        const at = n % (bytes.length - payloadOf(value));
        if (cut) return bytes.subarray(0, at);
        bytes[at] = (bytes[at] as number) ^ flip;
        return bytes;
      });
    fc.assert(
      fc.property(broken, (bytes) => assert.throws(() => decode(bytes), { kind: 'corrupt', code: 'CONTROL_CORRUPT' })),
      { numRuns: 500 },
    );
    assert.throws(() => decode(new Uint8Array(0)), { code: 'CONTROL_CORRUPT' });
  });
}

const payloadOf = (value: unknown) => (value as { readonly bytes?: Uint8Array }).bytes?.length ?? 0;

const hold = fc.record(
  { task: fc.string(), attempt: u32, checkpoint: u53, bytes: fc.uint8Array({ maxLength: 300 }) },
  flat,
);
const owners = fc.array(fc.record({ task: fc.string(), attempt: u32 }, flat), { maxLength: 5 });
const refs = fc
  .uniqueArray(fc.tuple(fc.string(), segment), { maxLength: 5, selector: ([task]) => task })
  .map((pairs) => new Map(pairs));

codec('hold', hold, encodeHold, decodeHold);
codec('fetch', segment, encodeFetch, decodeFetch);
codec('persist', fc.record({ checkpoint: u53, epoch: u53, tasks: owners }, flat), encodePersist, decodePersist);
codec('persisted', refs, encodePersisted, decodePersisted);
const plan = fc.record(
  {
    inputs: fc.array(segment, { maxLength: 5 }),
    range: fc.record({ first: u16, last: u16 }, flat),
    full: fc.boolean(),
    boundaries: fc.array(u16, { maxLength: 5 }),
    bytesTarget: u53,
  },
  flat,
);
codec('compact', fc.record({ checkpoint: u53, epoch: u53, plan }, flat), encodeCompact, decodeCompact);
codec('compacted', fc.array(segment, { maxLength: 5 }), encodeCompacted, decodeCompacted);
codec('forget', fc.record({ checkpoint: u53, epoch: u53, completed: fc.boolean() }, flat), encodeForget, decodeForget);

test('a hold message that lies amid others is read from where it lies', () => {
  const request = { task: 'v1.0', attempt: 2, checkpoint: 3, bytes: Uint8Array.of(7, 8, 9) };
  const message = encodeHold(request);
  const around = new Uint8Array(message.length + 20).fill(0xff);
  around.set(message, 13);
  assert.deepEqual(decodeHold(around.subarray(13, 13 + message.length)), request);
});
