/** A pending callback; `cancel` after it ran does nothing. */
export interface Timer {
  cancel(): void;
}

/**
 * All waiting in Millrace goes through a Clock, so that the simulator can run everything on virtual time.
 * Promise continuations (microtasks) need no clock: their order is fixed by the code.
 */
export interface Clock {
  /** Wall time in ms since 1970. May jump; never used to measure a duration. */
  now(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Runs `fn` once, `delayMs` from now, as a macrotask. */
  schedule(delayMs: number, fn: () => void): Timer;
  /** Runs `fn` as soon as other pending I/O had its turn (`setImmediate`). */
  soon(fn: () => void): void;
}

export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.schedule(delayMs, resolve);
  });
}

/** Lets pending I/O and other tasks of this thread run, then resolves. */
export function yieldTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    clock.soon(resolve);
  });
}

/** The machine's own clock. Timers do not keep the process alive when `unref` is set. */
export function systemClock(options: { readonly unref?: boolean } = {}): Clock {
  return {
    now: () => Date.now(),
    monotonicMs: () => performance.now(),
    schedule(delayMs, fn) {
      const handle = setTimeout(fn, delayMs);
      if (options.unref === true) handle.unref();
      return { cancel: () => clearTimeout(handle) };
    },
    soon(fn) {
      setImmediate(fn);
    },
  };
}
