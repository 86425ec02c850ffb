import type { Clock, Timer } from '../base/index.js';
import type { Doorbell } from './doorbell.js';

/**
 * One sleeper: any number of `wait` calls share one promise and one timer, so that calling it often costs nothing.
 * It wakes by its doorbell, and looks by itself every now and then in case a ring was lost.
 */
export class Waiter {
  readonly address: number;
  readonly #clock: Clock;
  readonly #doorbell: Doorbell;
  /** Whether there is something to wake up for. Must not throw. */
  readonly #isReady: () => boolean;
  /** Leaves the address where others will find it. */
  readonly #arm: () => void;
  readonly #unlisten: () => void;
  #pending: Promise<void> | undefined;
  #resolve: () => void = () => {};
  #timer: Timer | undefined;
  #deadlineMs = 0;
  #pauseMs = 0;

  constructor(clock: Clock, doorbell: Doorbell, address: number, isReady: () => boolean, arm: () => void) {
    this.address = address;
    this.#clock = clock;
    this.#doorbell = doorbell;
    this.#isReady = isReady;
    this.#arm = arm;
    this.#unlisten = doorbell.onRing(address, () => this.check());
  }

  wait(timeoutMs: number): Promise<void> {
    if (this.#isReady()) return Promise.resolve();
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    if (this.#pending !== undefined) {
      if (deadlineMs < this.#deadlineMs) {
        this.#deadlineMs = deadlineMs;
        this.#schedule();
      }
      return this.#pending;
    }
    this.#arm();
    if (this.#isReady()) return Promise.resolve();
    this.#deadlineMs = deadlineMs;
    this.#pauseMs = this.#doorbell.live ? POLL_LIVE_MS : POLL_FIRST_MS;
    const pending = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    this.#pending = pending;
    this.#schedule();
    return pending;
  }

  /** Wakes the sleeper when there is something to wake up for; otherwise it sleeps on. */
  check(): void {
    if (this.#pending === undefined) return;
    if (!this.#isReady()) this.#arm();
    if (this.#isReady()) this.wake();
  }

  wake(): void {
    if (this.#pending === undefined) return;
    this.#pending = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#resolve();
  }

  close(): void {
    this.#unlisten();
    this.wake();
  }

  #schedule(): void {
    this.#timer?.cancel();
    const leftMs = Math.max(0, this.#deadlineMs - this.#clock.monotonicMs());
    this.#timer = this.#clock.schedule(Math.min(leftMs, this.#pauseMs), () => {
      this.#timer = undefined;
      if (this.#isReady() || this.#clock.monotonicMs() >= this.#deadlineMs) return this.wake();
      this.#pauseMs = this.#doorbell.live ? POLL_LIVE_MS : Math.min(this.#pauseMs * 2, POLL_MAX_MS);
      this.#schedule();
    });
  }
}

/** While doorbells work, polling is only a safety net. */
const POLL_LIVE_MS = 50;
const POLL_FIRST_MS = 0.25;
/** So much latency a dead doorbell costs at most. */
const POLL_MAX_MS = 2;
