import { type Clock, systemClock, type Timer } from '../../base/index.js';

/** A clock whose timers run when a test says so: deadlines in tests that talk over real sockets. */
export class ManualDeadlines implements Clock {
  /** Timers ever started. */
  started = 0;
  readonly #timers = new Set<{ readonly delayMs: number; readonly fn: () => void }>();
  readonly #real = systemClock();

  /** Neither run nor cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Runs the timers of exactly this delay. */
  expire(delayMs: number): void {
    for (const timer of [...this.#timers]) {
      if (timer.delayMs === delayMs && this.#timers.delete(timer)) timer.fn();
    }
  }

  now(): number {
    return this.#real.now();
  }

  monotonicMs(): number {
    return this.#real.monotonicMs();
  }

  schedule(delayMs: number, fn: () => void): Timer {
    this.started++;
    const timer = { delayMs, fn };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  soon(fn: () => void): void {
    this.#real.soon(fn);
  }
}
