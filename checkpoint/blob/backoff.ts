import type { Clock, Random, Timer } from '../../base/index.js';

export interface BackoffOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Delay after the first failure. */
  readonly firstMs: number;
  /** No delay is longer. */
  readonly maxMs: number;
}

/**
 * The waits between attempts: exponential, each between half and all of its nominal length, so that many who failed
 * together do not come back together (Brooker, "Exponential Backoff And Jitter", 2015: "equal jitter").
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #waits = new Set<() => void>();
  #closed = false;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** How long to wait after this many failures in a row, 1 or more. */
  delayMs(failures: number): number {
    const nominalMs = Math.min(this.#options.maxMs, this.#options.firstMs * 2 ** Math.min(failures - 1, 40));
    return nominalMs * (0.5 + this.#options.random.float() / 2);
  }

  /** True after this time; false as soon as it is closed. */
  wait(delayMs: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((resolve) => {
      const end = () => {
        this.#waits.delete(stop);
        resolve(!this.#closed);
      };
      const timer: Timer = this.#options.clock.schedule(delayMs, end);
      const stop = () => {
        timer.cancel();
        end();
      };
      this.#waits.add(stop);
    });
  }

  /** Ends all waits, also future ones. */
  close(): void {
    this.#closed = true;
    for (const stop of [...this.#waits]) stop();
  }
}
