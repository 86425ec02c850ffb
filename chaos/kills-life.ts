import { MillraceError, type Random, sleep } from '../base/index.js';
import type { BlobStore } from '../checkpoint/index.js';
import type { SimClock, SimProcessClock } from './sim-clock.js';
import { SimThread } from './sim-thread.js';

/**
 * What is done to a process at one of its awaits. `unsent`: killed before the request leaves it. `sent`: killed while the
 * request is under way, which still arrives. `done`: killed when it was carried out, before the answer.
 * `paused`: stopped while it waits, and woken much later.
 */
export type Fate = 'on' | 'unsent' | 'sent' | 'done' | 'paused';

export const killFates = ['unsent', 'sent', 'done'] as const;

export interface FateOptions {
  /** Awaits, on average, before something happens; infinite when it is calm. */
  awaitsPerLife: number;
  readonly pauseRate: number;
  readonly pauseMsMax: number;
}

export interface LifeEvents {
  /** `at`: the operation and the await within it, as `save compareAndSet`. */
  killed(at: string, fate: Fate): void;
  paused(): void;
}

/**
 * A process between its start and its kill: one event loop whose every await is counted, and at one of them its fate
 * comes. Nothing of it runs after its kill (`sim-process.ts` says why), but what it had sent still arrives.
 */
export class Life {
  readonly name: string;
  readonly thread: SimThread;
  readonly clock: SimProcessClock;
  readonly random: Random;
  /** The operation under way, for the account of kills. */
  doing = 'start';
  store!: BlobStore;
  readonly #sim: SimClock;
  readonly #options: FateOptions;
  readonly #events: LifeEvents;
  #left: number;

  constructor(name: string, sim: SimClock, random: Random, options: FateOptions, events: LifeEvents) {
    this.name = name;
    this.thread = new SimThread(name, name, random.u32());
    this.clock = sim.processClock(this.thread);
    this.random = random;
    this.#sim = sim;
    this.#options = options;
    this.#events = events;
    this.#left = this.#draw();
  }

  get alive(): boolean {
    return this.thread.alive;
  }

  /** Runs `main` in an event of its own; `failed` is told what it throws. */
  start(main: (life: this) => Promise<void>, failed: (thrown: unknown) => void): void {
    this.#sim.on(this.thread, 0, 'start', () => {
      main(this).catch((thrown: unknown) => this.alive && failed(thrown));
    });
  }

  /** Ends it without counting it as a kill. */
  end(): void {
    this.thread.die('kill');
  }

  /** One await on something outside: draws its fate. A pause is carried out here. */
  awaits(what: string): Fate {
    if (!this.alive) return 'unsent';
    if (this.#left-- > 0) return 'on';
    this.#left = this.#draw();
    // All draws are made whatever comes of them: a switched-off fate does not shift the others.
    const pauses = this.random.chance(this.#options.pauseRate);
    const fate = killFates[this.random.below(killFates.length)] as Fate;
    const pauseMs = this.random.float() * this.#options.pauseMsMax;
    if (this.#options.awaitsPerLife === Number.POSITIVE_INFINITY) return 'on';
    if (!pauses) {
      // Collecting goes on beside whatever else a leader does.
      const doing = what === 'delete' || what === 'list' ? 'collect' : this.doing;
      this.#events.killed(`${this.doing === 'pin' ? 'pin' : doing} ${what}`, fate);
      return fate;
    }
    this.thread.state = 'paused';
    this.#sim.at(pauseMs, 'resume', () => this.#sim.resume(this.thread));
    this.#events.paused();
    return 'paused';
  }

  /**
   * An await on something outside of the process: sends a request, and goes on with its answer in an event of its own.
   * `send` settles in an event of somebody else.
   */
  request<T>(what: string, send: () => Promise<T>): Promise<T> {
    const fate = this.awaits(what);
    if (fate === 'unsent') {
      this.end();
      return new Promise(() => {});
    }
    const sent = send();
    if (fate === 'sent') this.end();
    return new Promise((resolve, reject) => {
      const answered = (settle: () => void) => {
        if (fate === 'done') this.end();
        else this.#sim.on(this.thread, 0, 'answer', settle);
      };
      sent.then(
        (answer) => answered(() => resolve(answer)),
        (thrown: unknown) => answered(() => reject(thrown)),
      );
    });
  }

  /** Nothing is under way in a sleep: to be killed in it is to be killed before the answer to what was last asked. */
  sleep(delayMs: number): Promise<void> {
    return sleep(this.clock, delayMs);
  }

  /** Asks another process to do something; `PROCESS_LOST` (unavailable) when it is not there, dies, or takes too long. */
  ask<P, T>(what: string, target: Place<P>, timeoutMs: number, work: (process: P) => Promise<T>): Promise<T> {
    return this.request(what, () => this.#asked(target, timeoutMs, work));
  }

  #asked<P, T>({ life, process }: Place<P>, timeoutMs: number, work: (process: P) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const lost = () => reject(new MillraceError('unavailable', 'PROCESS_LOST', `${life?.name ?? 'it'} is gone`));
      const delayMs = 0.05 + this.random.float();
      if (life?.alive !== true || process === undefined) {
        this.#sim.at(delayMs, 'refused', lost);
        return;
      }
      const unwatch = life.thread.onDeath(() => this.#sim.at(delayMs, 'lost', lost));
      const timer = this.#sim.at(timeoutMs, 'timeout', lost);
      const over = (settle: () => void) => {
        unwatch();
        timer.cancel();
        // In an event of the world: whoever asked is called from there.
        this.#sim.at(delayMs, 'reply', settle);
      };
      this.#sim.on(life.thread, delayMs, 'asked', () => {
        (async () => work(process))().then(
          (answer) => life.alive && over(() => resolve(answer)),
          (thrown: unknown) => life.alive && over(() => reject(thrown)),
        );
      });
    });
  }

  #draw(): number {
    const mean = Math.min(this.#options.awaitsPerLife, 1e6);
    return Math.floor(-Math.log(1 - this.random.float()) * mean);
  }
}

/** Where others find a process: whoever lives there now. */
export interface Place<P> {
  life: Life | undefined;
  process: P | undefined;
}
