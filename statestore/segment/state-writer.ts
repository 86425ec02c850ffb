import type { Clock } from '../../base/index.js';
import type { StateSegment } from '../spi.js';
import { type FrozenStates, writeStates } from './segment-write.js';

/** Who makes segments of what barriers froze. One serves many stores. */
export interface StateWriter {
  /** Resolves with the segment; rejects when it cannot be made. What is frozen may be read from any thread until then. */
  write(frozen: FrozenStates): Promise<StateSegment>;
}

/** Writes at once, on the caller's thread: for small states, and where a pause is no matter. */
export const immediateWriter: StateWriter = { write: async (frozen) => writeAtOnce(frozen) };

export function writeAtOnce(frozen: FrozenStates): StateSegment {
  return finish(writeStates(frozen));
}

/** Takes all steps that are left. */
export function finish<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * Writes on the caller's thread, a step at each turn of its loop: what happens to the tables in between must not show. This is
 * how the simulator, which has one thread, runs into the interleavings of two.
 */
export function steppedWriter(clock: Clock): StateWriter {
  return {
    write: (frozen) =>
      new Promise((resolve, reject) => {
        const steps = writeStates(frozen);
        const turn = () => {
          try {
            const step = steps.next();
            if (step.done === true) resolve(step.value);
            else clock.soon(turn);
          } catch (error) {
            reject(error);
          }
        };
        clock.soon(turn);
      }),
  };
}
