import type { Clock, Timer } from '../../base/index.js';

interface Due {
  readonly atMs: number;
  readonly seq: number;
  readonly fn: () => void;
}

/**
 * A clock that jumps to its next timer as soon as all promises have settled: for code that waits for nothing but this
 * clock and things in memory. Minutes take no time, and every run is the same.
 */
export class JumpingClock implements Clock {
  timeMs = 0;
  #due: Due[] = [];
  #seq = 0;
  #pumping = false;

  now(): number {
    return 1_700_000_000_000 + this.timeMs;
  }

  monotonicMs(): number {
    return this.timeMs;
  }

  schedule(delayMs: number, fn: () => void): Timer {
    const due = { atMs: this.timeMs + Math.max(delayMs, 0), seq: this.#seq++, fn };
    this.#due.push(due);
    this.#pump();
    return {
      cancel: () => {
        this.#due = this.#due.filter((other) => other !== due);
      },
    };
  }

  soon(fn: () => void): void {
    this.schedule(0, fn);
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#due.sort((a, b) => a.atMs - b.atMs || a.seq - b.seq);
      const next = this.#due.shift();
      if (next === undefined) return;
      this.timeMs = Math.max(this.timeMs, next.atMs);
      if (this.#due.length > 0) this.#pump();
      next.fn();
    });
  }
}
