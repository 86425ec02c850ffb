/** `dead` is final. A paused thread (SIGSTOP) keeps its place: what arrives meanwhile waits for `resume`. */
export type ThreadState = 'running' | 'paused' | 'dead';

/** Why a thread ended; a host that loses power sends no goodbye to its peers. */
export type DeathCause = 'exit' | 'kill' | 'power';

/**
 * One event loop of the simulated world: the main thread of a simulated process, or one of its worker threads.
 * It owns nothing but its place in time; the clock, network, disk and memory it sees are views that ask `alive` first.
 */
export class SimThread {
  readonly name: string;
  readonly host: string;
  /** Orders events of different threads that fall on the same instant; drawn from the seed. */
  readonly salt: number;
  state: ThreadState = 'running';
  /** Factor on the time each event keeps the thread busy; above 1 for a slow loop. */
  slowdown = 1;
  /** Events that arrived while the thread was busy or paused, oldest first. Owned by SimClock. */
  readonly inbox: SimEvent[] = [];
  /** The loop is occupied until then. Owned by SimClock. */
  busyUntilMs = 0;
  /** A wake-up is queued for `busyUntilMs`. Owned by SimClock. */
  wakePending = false;
  readonly #deathHandlers = new Set<(cause: DeathCause) => void>();

  constructor(name: string, host: string, salt: number) {
    this.name = name;
    this.host = host;
    this.salt = salt >>> 0;
  }

  /** Tells it from every other thread, as `ownThread` does. */
  get identity(): string {
    return `${this.name} ${this.salt}`;
  }

  get alive(): boolean {
    return this.state !== 'dead';
  }

  /** Called once, at the moment of death, in the order of registration. Returns how to take it back. */
  onDeath(handler: (cause: DeathCause) => void): () => void {
    this.#deathHandlers.add(handler);
    return () => this.#deathHandlers.delete(handler);
  }

  /** Only SimClock and SimProcess call this: see `sim-process.ts` for what else belongs to a kill. */
  die(cause: DeathCause): void {
    if (this.state === 'dead') return;
    this.state = 'dead';
    this.inbox.length = 0;
    for (const handler of this.#deathHandlers) handler(cause);
    this.#deathHandlers.clear();
  }
}

/** One thing that will happen. `thread` is whose code runs; undefined for the world itself (kernel, wires, fault plan). */
export class SimEvent {
  readonly timeMs: number;
  /** Order among threads at one instant, from the seed; equal for all events of one thread at one instant. */
  readonly tie: number;
  /** Order in which events were scheduled. */
  readonly seq: number;
  readonly thread: SimThread | undefined;
  readonly label: string;
  /** One number for the trace: a length, a frame's size. */
  readonly detail: number;
  /** Undefined once cancelled or run; a wake-up of a busy thread never has one. */
  run: (() => void) | undefined;
  readonly wake: boolean;

  constructor(
    timeMs: number,
    tie: number,
    seq: number,
    thread: SimThread | undefined,
    label: string,
    detail: number,
    run: (() => void) | undefined,
    wake: boolean,
  ) {
    this.timeMs = timeMs;
    this.tie = tie;
    this.seq = seq;
    this.thread = thread;
    this.label = label;
    this.detail = detail;
    this.run = run;
    this.wake = wake;
  }
}
