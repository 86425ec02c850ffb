import type { Clock } from '../../base/index.js';

/** Spaces transfers so that, over any long time, no more than so many bytes a second begin. The first begins at once. */
export class ByteThrottle {
  readonly #clock: Clock;
  readonly #bytesPerSecondMax: number;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, bytesPerSecondMax: number) {
    this.#clock = clock;
    this.#bytesPerSecondMax = bytesPerSecondMax;
  }

  /** Books a transfer of these bytes: how long to wait before it begins, in ms. */
  book(bytes: number): number {
    const nowMs = this.#clock.monotonicMs();
    const beginMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = beginMs + (bytes / this.#bytesPerSecondMax) * 1_000;
    return beginMs - nowMs;
  }
}
