/**
 * Virtual time. One queue of events ordered by (time, seeded tie, sequence); one event at a time; time jumps from event
 * to event.
 *
 * Letting promises settle. Before the next event is chosen, every promise continuation the last one caused must have
 * run, or the order would depend on how deep a chain of awaits is. Node (since 11) empties its nextTick and microtask
 * queues after *each* callback of the check phase, not once a phase. So the pump asks for a batch of `setImmediate`
 * callbacks (base's system clock: `soon`) and each runs exactly one event: between two callbacks Node has drained everything. This is as robust as one
 * `setImmediate` an event and several times faster (bare, 2.9 M/s in batches of 64, 0.4-0.5 M/s one by one). `turn` is
 * the only real clock in the simulator and can be replaced.
 * What cannot be waited for this way is work outside the thread (real files, sockets, zlib, `import()`): simulated code
 * must not await such things; when a run goes idle with its goal unmet, that is the first thing to look for.
 *
 * Whose code runs. An event belongs to one SimThread or to the world. As the drain is complete, all code that runs
 * between two events is that thread's (`current`). A thread is one event loop: each event keeps it busy for a short,
 * seeded time, and what arrives meanwhile waits in its inbox in order of arrival. So timers of one thread never
 * overtake each other, while the interleaving of different threads is up to the seed. A paused thread's inbox fills; a
 * dead thread's events are dropped.
 */
import { type Clock, MillraceError, type Random, systemClock, type Timer } from '../base/index.js';
import { EventQueue } from './event-queue.js';
import { SimEvent, type SimThread } from './sim-thread.js';
import type { Trace } from './trace.js';

export interface SimClockOptions {
  /** How long one event keeps its thread busy, in ms: uniform between the two. */
  readonly busyMs?: readonly [number, number];
  /** Wall time at the start, ms since 1970. */
  readonly epochMs?: number;
  /** Runs `fn` in a macrotask of its own, with all microtasks drained before it and after it. */
  readonly turn?: (fn: () => void) => void;
}

export interface RunOptions {
  /** Stop before the first event later than this; time then stands at `untilMs`. */
  readonly untilMs?: number;
  /** Looked at after every event, once its promises have settled. */
  readonly until?: () => boolean;
  readonly maxEvents?: number;
}

export interface RunResult {
  readonly reason: 'idle' | 'time' | 'until' | 'events';
  readonly events: number;
}

interface Run {
  readonly options: RunOptions;
  readonly resolve: (result: RunResult) => void;
  readonly reject: (error: unknown) => void;
  readonly tick: () => void;
  events: number;
}

const BATCH = 64;
const TIMEOUT_MAX = 2 ** 31 - 1;

export class SimClock {
  readonly trace: Trace;
  readonly #random: Random;
  readonly #queue = new EventQueue();
  readonly #busyMin: number;
  readonly #busySpan: number;
  readonly #epochMs: number;
  readonly #turn: (fn: () => void) => void;
  readonly #settled: ((thread: SimThread | undefined) => void)[] = [];
  #afterThis: (() => void)[] = [];
  #timeMs = 0;
  #seq = 0;
  #current: SimThread | undefined;
  #inEvent = false;
  #run: Run | undefined;
  #failure: unknown;
  #failed = false;
  #uncaught: (thread: SimThread, error: unknown) => void = (_, error) => this.fail(error);

  constructor(random: Random, trace: Trace, options: SimClockOptions = {}) {
    this.#random = random;
    this.trace = trace;
    const [min, max] = options.busyMs ?? [0.002, 0.05];
    this.#busyMin = min;
    this.#busySpan = max - min;
    this.#epochMs = options.epochMs ?? 1_700_000_000_000;
    this.#turn = options.turn ?? systemClock().soon;
  }

  /** Milliseconds of virtual time since the start. */
  get timeMs(): number {
    return this.#timeMs;
  }

  get epochMs(): number {
    return this.#epochMs;
  }

  /** The thread whose code is running; undefined for the world and outside `run`. */
  get current(): SimThread | undefined {
    return this.#current;
  }

  /** Queues an event of the world (a wire, a kernel, the fault plan). */
  at(delayMs: number, label: string, run: () => void, detail = 0): Timer {
    return this.#push(undefined, delayMs, label, run, detail);
  }

  /** Queues an event of a thread; dropped if that is dead by then, deferred while it is paused or busy. */
  on(thread: SimThread, delayMs: number, label: string, run: () => void, detail = 0): Timer {
    return this.#push(thread, delayMs, label, run, detail);
  }

  /** The clock as one thread sees it. */
  processClock(thread: SimThread, wall: Wall = { skewMs: 0 }): SimProcessClock {
    return new SimProcessClock(this, thread, wall);
  }

  /** Runs `fn` after every event, once its promises have settled, with the thread it belonged to. For invariants. */
  onSettled(fn: (thread: SimThread | undefined) => void): void {
    this.#settled.push(fn);
  }

  /** Runs `fn` once the current event has settled, before any other event; at once outside of events. */
  afterThisEvent(fn: () => void): void {
    if (this.#inEvent) this.#afterThis.push(fn);
    else fn();
  }

  /** What to do with an error that a thread's callback threw; by default it fails the run. */
  onUncaught(handler: (thread: SimThread, error: unknown) => void): void {
    this.#uncaught = handler;
  }

  /** Ends the run with this error (the first one wins). */
  fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#failure = error;
  }

  /** Simulated code broke a contract of base, or an invariant does not hold: ends the run, naming the thread. */
  violate(code: string, message: string): MillraceError {
    const who = this.#current?.name ?? 'world';
    const error = new MillraceError('internal', code, `${message} (${who} at ${this.#timeMs.toFixed(3)} ms)`);
    this.fail(error);
    return error;
  }

  /** A paused thread's inbox starts to move again. */
  resume(thread: SimThread): void {
    if (thread.state !== 'paused') return;
    thread.state = 'running';
    this.#wake(thread);
  }

  /** Runs events until one of the conditions holds. Only one run at a time. Rejects with what was passed to `fail`. */
  run(options: RunOptions = {}): Promise<RunResult> {
    if (this.#run !== undefined) throw new MillraceError('internal', 'SIM_BUSY', 'the simulator is already running');
    return new Promise((resolve, reject) => {
      const run: Run = { options, resolve, reject, events: 0, tick: () => this.#tick(run) };
      this.#run = run;
      this.#fill(run);
    });
  }

  #fill(run: Run): void {
    for (let i = 0; i < BATCH; i++) this.#turn(run.tick);
    this.#turn(() => {
      if (this.#run === run) this.#fill(run);
    });
  }

  #tick(run: Run): void {
    if (this.#run !== run) return;
    if (this.#inEvent) this.#settle();
    if (this.#failed) {
      this.#run = undefined;
      this.#failed = false;
      run.reject(this.#failure);
      return;
    }
    const reason = this.#advance(run);
    if (reason === undefined) {
      run.events++;
      return;
    }
    this.#run = undefined;
    run.resolve({ reason, events: run.events });
  }

  #settle(): void {
    const after = this.#afterThis;
    if (after.length > 0) {
      this.#afterThis = [];
      for (const fn of after) fn();
    }
    const thread = this.#current;
    for (let i = 0; i < this.#settled.length; i++) {
      try {
        this.#settled[i]?.(thread);
      } catch (error) {
        this.fail(error);
      }
    }
    this.#current = undefined;
    this.#inEvent = false;
  }

  /** Executes the next event, or says why there is none. */
  #advance(run: Run): RunResult['reason'] | undefined {
    const { untilMs, until, maxEvents } = run.options;
    try {
      if (until?.() === true) return 'until';
    } catch (error) {
      this.fail(error);
      this.#turn(run.tick);
      return undefined;
    }
    if (maxEvents !== undefined && run.events >= maxEvents) return 'events';
    for (;;) {
      const event = this.#queue.peek();
      if (event === undefined) {
        if (untilMs === undefined) return 'idle';
        this.#timeMs = Math.max(this.#timeMs, untilMs);
        return 'time';
      }
      const thread = event.thread;
      if ((event.run === undefined && !event.wake) || thread?.state === 'dead') {
        this.#queue.pop();
        continue;
      }
      if (untilMs !== undefined && event.timeMs > untilMs) {
        this.#timeMs = Math.max(this.#timeMs, untilMs);
        return 'time';
      }
      this.#queue.pop();
      this.#timeMs = event.timeMs;
      const ready = thread === undefined ? event : this.#admit(thread, event);
      if (ready === undefined) continue;
      this.#execute(ready);
      return undefined;
    }
  }

  /** Passes the event through the thread's loop: what may run now, if anything. */
  #admit(thread: SimThread, event: SimEvent): SimEvent | undefined {
    if (event.wake) thread.wakePending = false;
    else if (thread.state === 'paused' || thread.inbox.length > 0 || thread.busyUntilMs > this.#timeMs) {
      thread.inbox.push(event);
      this.#wake(thread);
      return undefined;
    } else return event;
    if (thread.state === 'paused') return undefined;
    for (;;) {
      const next = thread.inbox.shift();
      if (next === undefined || next.run !== undefined) return next;
    }
  }

  #wake(thread: SimThread): void {
    if (thread.wakePending || thread.state !== 'running' || thread.inbox.length === 0) return;
    thread.wakePending = true;
    const timeMs = Math.max(this.#timeMs, thread.busyUntilMs);
    this.#queue.push(new SimEvent(timeMs, tieOf(thread, timeMs), this.#seq++, thread, 'wake', 0, undefined, true));
  }

  #execute(event: SimEvent): void {
    const thread = event.thread;
    const run = event.run as () => void;
    event.run = undefined;
    this.trace.record(this.#timeMs, thread === undefined ? 'world' : thread.name, event.label, event.detail);
    this.#current = thread;
    this.#inEvent = true;
    if (thread !== undefined) {
      const busyMs = (this.#busyMin + this.#random.float() * this.#busySpan) * thread.slowdown;
      thread.busyUntilMs = this.#timeMs + busyMs;
      this.#wake(thread);
    }
    try {
      run();
    } catch (error) {
      if (thread === undefined) this.fail(error);
      else this.#uncaught(thread, error);
    }
  }

  #push(thread: SimThread | undefined, delayMs: number, label: string, run: () => void, detail: number): Timer {
    if (thread?.state === 'dead') return { cancel: () => {} };
    const timeMs = this.#timeMs + Math.max(0, delayMs);
    const tie = thread === undefined ? 0 : tieOf(thread, timeMs);
    const event = new SimEvent(timeMs, tie, this.#seq++, thread, label, detail, run, false);
    this.#queue.push(event);
    return { cancel: () => this.#queue.cancel(event) };
  }
}

/** The same for all events of a thread at one instant, so that they stay in order among themselves. */
function tieOf(thread: SimThread, timeMs: number): number {
  const h = Math.imul(thread.salt ^ ((timeMs * 1000) | 0), 0x21f0aaad);
  return (h ^ (h >>> 15)) >>> 0;
}

/** What the clock on a host's wall shows is off by this much; it may jump. */
export interface Wall {
  readonly skewMs: number;
}

/** One thread's view. Timers behave like Node's: less than 1 ms, or more than 2^31-1, is 1 ms. */
export class SimProcessClock implements Clock {
  readonly #wall: Wall;
  readonly #clock: SimClock;
  readonly #thread: SimThread;

  constructor(clock: SimClock, thread: SimThread, wall: Wall) {
    this.#clock = clock;
    this.#thread = thread;
    this.#wall = wall;
  }

  now(): number {
    return Math.floor(this.#clock.epochMs + this.#clock.timeMs + this.#wall.skewMs);
  }

  monotonicMs(): number {
    return this.#clock.timeMs;
  }

  schedule(delayMs: number, fn: () => void): Timer {
    const effectiveMs = delayMs >= 1 && delayMs <= TIMEOUT_MAX ? delayMs : 1;
    return this.#clock.on(this.#thread, effectiveMs, 'timer', fn);
  }

  soon(fn: () => void): void {
    this.#clock.on(this.#thread, 0, 'soon', fn);
  }
}
