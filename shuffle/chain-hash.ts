/**
 * chain(n+1) = xxh64(checksum(n) as 8 little-endian bytes, seeded with chain(n)); chain(0) = 0.
 *
 * Computed here, on 32-bit halves: a call into native code for eight bytes, with a seed to convert, took as long as the
 * rest of what a small buffer costs.
 */
export class ChainHash {
  /** [chain, checksum] in, [chain] out. */
  readonly #longs = new BigUint64Array(2);
  readonly #words = new Int32Array(this.#longs.buffer);

  next(chain: bigint, checksum: bigint): bigint {
    this.#longs[0] = chain;
    this.#longs[1] = checksum;
    const words = this.#words;
    // acc = seed + P5 + 8
    add(words[0] as number, words[1] as number, P5_PLUS_8_LOW, P5_HIGH);
    const seedLow = low;
    const seedHigh = high;
    // acc ^= rotl(input * P2, 31) * P1
    multiply(words[2] as number, words[3] as number, P2_LOW, P2_HIGH);
    multiply((low << 31) | (high >>> 1), (high << 31) | (low >>> 1), P1_LOW, P1_HIGH);
    const accLow = seedLow ^ low;
    const accHigh = seedHigh ^ high;
    // acc = rotl(acc, 27) * P1 + P4
    multiply((accLow << 27) | (accHigh >>> 5), (accHigh << 27) | (accLow >>> 5), P1_LOW, P1_HIGH);
    add(low, high, P4_LOW, P4_HIGH);
    // Avalanche: acc ^= acc >>> 33, times P2, ^= acc >>> 29, times P3, ^= acc >>> 32
    multiply(low ^ (high >>> 1), high, P2_LOW, P2_HIGH);
    multiply(low ^ ((low >>> 29) | (high << 3)), high ^ (high >>> 29), P3_LOW, P3_HIGH);
    words[0] = low ^ high;
    words[1] = high;
    return this.#longs[0] as bigint;
  }
}

/** The result of the last operation: two numbers without an object around them. */
let low = 0;
let high = 0;

function add(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  low = (aLow + bLow) | 0;
  high = (aHigh + bHigh + (low >>> 0 < aLow >>> 0 ? 1 : 0)) | 0;
}

function multiply(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  const a0 = aLow & 0xffff;
  const a1 = aLow >>> 16;
  const b0 = bLow & 0xffff;
  const b1 = bLow >>> 16;
  const p00 = Math.imul(a0, b0);
  const p01 = Math.imul(a0, b1);
  const p10 = Math.imul(a1, b0);
  const middle = (p00 >>> 16) + (p01 & 0xffff) + (p10 & 0xffff);
  low = (middle << 16) | (p00 & 0xffff);
  high = (Math.imul(a1, b1) + (p01 >>> 16) + (p10 >>> 16) + (middle >>> 16)) | 0;
  high = (high + Math.imul(aHigh, bLow) + Math.imul(aLow, bHigh)) | 0;
}

// The primes of xxh64 (Collet).
const P1_HIGH = 0x9e3779b1 | 0;
const P1_LOW = 0x85ebca87 | 0;
const P2_HIGH = 0xc2b2ae3d | 0;
const P2_LOW = 0x27d4eb4f;
const P3_HIGH = 0x165667b1;
const P3_LOW = 0x9e3779f9 | 0;
const P4_HIGH = 0x85ebca77 | 0;
const P4_LOW = 0xc2b2ae63 | 0;
const P5_HIGH = 0x27d4eb2f;
const P5_PLUS_8_LOW = 0x165667c5 + 8;
