import type { Clock, Timer } from '../base/index.js';
import type { Doorbell } from './doorbell.js';

/**
 * One sleeper: any number of `wait` calls share one promise and one timer, so that calling it often costs nothing.
 * It wakes by its doorbell, and looks by itself every now and then in case a ring was lost.
 *
 * A ring goes through the event loops of three processes (some 150 us; on two cores it also takes a core away), so a
 * sleeper first looks again for a few turns of its own loop (1.5 us each). How many depends on whether that helped
 * before: never longer than a ring would take, and soon not at all where others are slow.
 *
 * Who is busy (`isBusy`) naps first: for a millisecond it is rung only for much, as network cards moderate interrupts.
 */
export class Waiter {
  readonly address: number;
  readonly #clock: Clock;
  readonly #doorbell: Doorbell;
  /** Whether there is something to wake up for. Must not throw. */
  readonly #isReady: () => boolean;
  /** Leaves the address where others will find it. */
  readonly #arm: (nap: boolean) => void;
  readonly #isBusy: () => boolean;
  readonly #unlisten: () => void;
  #pending: Promise<void> | undefined;
  #resolve: () => void = () => {};
  #timer: Timer | undefined;
  #deadlineMs = 0;
  #pauseMs = 0;
  /** Turns to look before sleeping. */
  #patience: number;
  #armed = false;
  #sleptAtMs = 0;

  constructor(
    clock: Clock,
    doorbell: Doorbell,
    address: number,
    isReady: () => boolean,
    arm: (nap: boolean) => void,
    options: { readonly patient?: boolean; readonly isBusy?: () => boolean } = {},
  ) {
    this.address = address;
    this.#clock = clock;
    this.#doorbell = doorbell;
    this.#isReady = isReady;
    this.#arm = arm;
    this.#isBusy = options.isBusy ?? (() => false);
    this.#patience = options.patient === false ? 0 : TURNS_FIRST;
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
    this.#deadlineMs = deadlineMs;
    const pending = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    this.#pending = pending;
    this.#look(pending, this.#patience);
    return pending;
  }

  /** Wakes the sleeper when there is something to wake up for; otherwise it sleeps on. */
  check(): void {
    if (this.#pending === undefined) return;
    if (this.#armed && !this.#isReady()) this.#arm(false);
    if (this.#isReady()) this.wake();
    else if (this.#armed && !this.#doorbell.live) this.#poll();
  }

  /** The doorbell is dead: what it should have told may have been lost already. */
  #poll(): void {
    if (this.#pauseMs <= POLL_MAX_MS) return;
    this.#pauseMs = POLL_FIRST_MS;
    this.#schedule();
  }

  wake(): void {
    if (this.#pending === undefined) return;
    this.#pending = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#armed) {
      this.#armed = false;
      // So short a sleep was not worth the ring.
      if (this.#clock.monotonicMs() - this.#sleptAtMs < SHORT_MS) this.#patience = this.#grown();
    }
    this.#resolve();
  }

  close(): void {
    this.#unlisten();
    this.wake();
  }

  /** Looks again, a turn of the event loop later, and after `turns` of them goes to sleep. */
  #look(pending: Promise<void>, turns: number): void {
    if (turns === 0) return this.#sleep();
    this.#clock.soon(() => {
      if (this.#pending !== pending) return;
      if (this.#isReady()) {
        this.#patience = this.#grown();
        return this.wake();
      }
      if (turns === 1) this.#patience >>= 1;
      this.#look(pending, turns - 1);
    });
  }

  #sleep(): void {
    this.#armed = true;
    this.#sleptAtMs = this.#clock.monotonicMs();
    const nap = this.#doorbell.live && this.#isBusy();
    this.#pauseMs = nap ? NAP_MS : this.#doorbell.live ? POLL_LIVE_MS : POLL_FIRST_MS;
    this.#arm(nap);
    if (this.#isReady()) return this.wake();
    this.#schedule();
  }

  #grown(): number {
    return Math.min(TURNS_MAX, this.#patience * 2 + 1);
  }

  #schedule(): void {
    this.#timer?.cancel();
    const leftMs = Math.max(0, this.#deadlineMs - this.#clock.monotonicMs());
    this.#timer = this.#clock.schedule(Math.min(leftMs, this.#pauseMs), () => {
      this.#timer = undefined;
      // After a nap any ring counts.
      if (this.#pauseMs === NAP_MS && !this.#isReady()) this.#arm(false);
      if (this.#isReady() || this.#clock.monotonicMs() >= this.#deadlineMs) return this.wake();
      this.#pauseMs = this.#doorbell.live ? POLL_LIVE_MS : Math.min(this.#pauseMs * 2, POLL_MAX_MS);
      this.#schedule();
    });
  }
}

const TURNS_FIRST = 4;
const TURNS_MAX = 64;
/** About what a ring takes, there and back. */
const SHORT_MS = 0.2;
/** While doorbells work, polling is only a safety net. */
const POLL_LIVE_MS = 50;
const POLL_FIRST_MS = 0.25;
/** The shortest timer there is. */
const NAP_MS = 1;
/** So much latency a dead doorbell costs at most. */
const POLL_MAX_MS = 2;
