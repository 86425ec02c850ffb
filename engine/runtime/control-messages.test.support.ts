import fc from 'fast-check';
import type { SegmentRef } from '../../checkpoint/index.js';
import type { TaskPosition } from './deployment.js';

const flat = { noNullPrototype: true };

export const u16 = fc.integer({ min: 0, max: 0xffff });
export const u32 = fc.integer({ min: 0, max: 0xffffffff });
export const u53 = fc.maxSafeNat();
export const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

export const segment: fc.Arbitrary<SegmentRef> = fc
  .tuple(
    fc.record(
      {
        object: fc.string(),
        offset: u53,
        length: u53,
        indexBytes: u53,
        checksum: fc.string(),
        full: fc.boolean(),
        first: u16,
        last: u16,
        deltas: u32,
      },
      flat,
    ),
    fc.option(fc.base64String(), { nil: undefined }),
  )
  .map(([ref, inline]) => (inline === undefined ? ref : { ...ref, inline }));

const at = { seq: u53, chain: u64.map((chain) => chain.toString(16).padStart(16, '0')) };
const time = fc.option(fc.maxSafeInteger());

export const taskPosition: fc.Arbitrary<TaskPosition> = fc.record(
  {
    inputs: fc.array(fc.record({ ...at, edge: u32, producer: u32, watermark: time, ended: fc.boolean() }, flat), {
      maxLength: 4,
    }),
    outputs: fc.array(fc.array(fc.record(at, flat), { maxLength: 3 }), { maxLength: 3 }),
    watermark: time,
    source: fc.option(fc.string({ unit: 'grapheme' })),
    transactions: fc.array(fc.record({ checkpoint: u53, transaction: fc.string() }, flat), { maxLength: 3 }),
    sourceRows: u53,
    lateDropped: u53,
  },
  flat,
);
