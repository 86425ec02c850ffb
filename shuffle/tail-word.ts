/**
 * The 64-bit word that decides what exists: [epoch: 26 bits | tail: 38 bits]. The tail counts published steps. A
 * publication is one compare-and-swap from [e | t] to [e | t+1]; a seal raises e. So a fenced writer's next publication
 * fails, wherever it was interrupted.
 */
export const EPOCH_MAX = 2 ** 26 - 1;
const TAIL_BITS = 38n;
const TAIL_MASK = (1n << TAIL_BITS) - 1n;

export function tailWord(epoch: number, tail: number): bigint {
  return (BigInt(epoch) << TAIL_BITS) | BigInt(tail);
}

export function epochOf(word: bigint): number {
  return Number(word >> TAIL_BITS);
}

export function tailOf(word: bigint): number {
  return Number(word & TAIL_MASK);
}
