import { randomFillSync } from 'node:crypto';

/** Every random choice of Millrace is drawn from one of these, so that a seed replays it. */
export interface Random {
  /** Uniform in [0, 2^32). */
  u32(): number;
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform integer in [0, n), n >= 1. */
  below(n: number): number;
  /** True with probability p. */
  chance(p: number): boolean;
  /** 16 hex digits; unique with a system random, reproducible with a seeded one. */
  nonce(): string;
  /** An independent stream derived from this one. */
  fork(): Random;
}

function fromU32(u32: () => number, fork: () => Random): Random {
  const float = () => u32() / 2 ** 32;
  const hex = () => u32().toString(16).padStart(8, '0');
  return {
    u32,
    float,
    below: (n) => Math.floor(float() * n),
    chance: (p) => float() < p,
    nonce: () => hex() + hex(),
    fork,
  };
}

/** Deterministic stream (splitmix32, Steele et al. 2014). The same seed gives the same numbers on every machine. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const u32 = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  return fromU32(u32, () => seededRandom(u32()));
}

/** Randomness of the operating system. */
export function systemRandom(): Random {
  const buffer = new Uint32Array(64);
  let used = buffer.length;
  const u32 = () => {
    if (used === buffer.length) {
      randomFillSync(buffer);
      used = 0;
    }
    return buffer[used++] as number;
  };
  return fromU32(u32, systemRandom);
}
