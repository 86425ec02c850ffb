import { xxh64 } from '../base/index.js';

/** chain(n+1) = xxh64(checksum(n) as 8 little-endian bytes, seeded with chain(n)); chain(0) = 0. */
export class ChainHash {
  readonly #checksum = new BigUint64Array(1);
  readonly #bytes = new Uint8Array(this.#checksum.buffer);

  next(chain: bigint, checksum: bigint): bigint {
    this.#checksum[0] = checksum;
    return xxh64(this.#bytes, chain);
  }
}
