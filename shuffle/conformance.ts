import { CONTROL_CASES } from './conformance-control.js';
import { KEPT_CASES } from './conformance-kept.js';
import type { ShuffleConformanceCase, ShuffleUnderTest } from './conformance-kit.js';
import { READING_CASES } from './conformance-reading.js';

/** Runs every case, each on a service of its own; `test` is node:test's, or whatever names and runs a case. */
export function shuffleConformance(
  name: string,
  factory: () => Promise<ShuffleUnderTest>,
  test: (name: string, run: () => Promise<void>) => void,
): void {
  for (const one of SHUFFLE_CONFORMANCE_CASES) test(`${name}: ${one.name}`, () => runShuffleConformance(one, factory));
}

export async function runShuffleConformance(
  one: ShuffleConformanceCase,
  factory: () => Promise<ShuffleUnderTest>,
): Promise<void> {
  const shuffle = await factory();
  try {
    await one.run(shuffle);
  } finally {
    await shuffle.close();
  }
}

export const SHUFFLE_CONFORMANCE_CASES: readonly ShuffleConformanceCase[] = [
  ...READING_CASES,
  ...KEPT_CASES,
  ...CONTROL_CASES,
];
