import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { xxh64 } from '../base/index.js';
import { ChainHash } from './chain-hash.js';

test('the chain hash is xxh64 of the checksum, seeded with the chain before', () => {
  const hash = new ChainHash();
  const long = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(
    fc.property(long, long, (chain, checksum) => {
      const bytes = new Uint8Array(BigUint64Array.of(checksum).buffer);
      assert.equal(hash.next(chain, checksum), xxh64(bytes, chain));
    }),
    { numRuns: 2000 },
  );
  for (const edge of [0n, 1n, 0xffff_ffffn, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.equal(hash.next(edge, edge), xxh64(new Uint8Array(BigUint64Array.of(edge).buffer), edge));
  }
});
