/**
 * A simulated process: threads, each with the views of the world it is given as constructor arguments, and an end.
 *
 * A killed process has no effect on anything any more, although its promises are still in the heap. Why this holds:
 *
 *  1. Code of a process runs only in an event of one of its threads, or in the promise continuations of that event; those
 *     have all run before the next event (`sim-clock.ts`). It gets into the queue of events only through its own clock,
 *     network, disk and memory, and they queue what they call back as events of the thread they were made for.
 *  2. SimClock drops the events of a dead thread. So no promise of it settles and no handler of it is called: its code
 *     never runs again. Not even `finally` does.
 *  3. What is left is a process killed during its own event (a fault at one of its calls, `exit`). Its code goes on until
 *     it next waits, and must have no effect: every view looks at `alive` first (send, connect, schedule, disk and memory
 *     calls do nothing); its logger is silent; and what it writes into shared memory is taken back: the host's regions
 *     are copied at the moment of the kill and restored when the event has settled. In this stretch nobody else runs, so
 *     the copy is exact: each store before the kill stays, each one after it is undone, as with SIGKILL.
 *  4. What it had given away before is not taken back: bytes handed to the operating system travel on (those still in its
 *     own queue do not), a disk call in flight is carried out, torn or dropped by seed.
 *
 * It does not hold for code that shares objects between processes in another way: module-level state that changes, a
 * callback handed to another process's object. Simulated code must have none.
 */
import type { Disk, Logger, Network, ProcessExit, Random, SharedMemory } from '../base/index.js';
import type { SimClock, SimProcessClock } from './sim-clock.js';
import type { SimHostDisk } from './sim-disk.js';
import type { SimHostMemory } from './sim-memory.js';
import type { SimNetwork } from './sim-network.js';
import { type DeathCause, SimThread } from './sim-thread.js';
import type { Trace } from './trace.js';

/** What a process needs of its world. */
export interface Surroundings {
  readonly clock: SimClock;
  readonly network: SimNetwork;
  readonly trace: Trace;
  readonly random: Random;
  /** Errors that ended processes. */
  readonly crashes: { readonly process: string; readonly error: unknown }[];
  processGone(process: SimProcess): void;
}

/** A machine: what its processes share, and what outlives them. */
export interface SimHost {
  readonly name: string;
  readonly disk: SimHostDisk;
  readonly memory: SimHostMemory;
  /** Of the clock on its wall, for all processes. */
  skewMs: number;
  /** Changes with every reboot, as /proc/sys/kernel/random/boot_id does. */
  bootId: string;
}

/** Everything one thread of a process may touch. */
export interface SimContext {
  readonly name: string;
  readonly host: string;
  readonly process: SimProcess;
  readonly thread: SimThread;
  readonly clock: SimProcessClock;
  readonly network: Network;
  readonly disk: Disk;
  readonly memory: SharedMemory;
  readonly random: Random;
  readonly logger: Logger;
}

export type SimMain = (context: SimContext) => void | Promise<void>;

export class SimProcess {
  readonly name: string;
  readonly host: SimHost;
  readonly pid: number;
  readonly #world: Surroundings;
  readonly #threads: SimThread[] = [];
  readonly #watchers: { readonly thread: SimThread | undefined; readonly fn: (exit: ProcessExit) => void }[] = [];
  #exit: ProcessExit | undefined;
  #paused = false;

  /** @internal `SimWorld.spawn` makes processes. */
  constructor(world: Surroundings, host: SimHost, name: string, pid: number) {
    this.#world = world;
    this.host = host;
    this.name = name;
    this.pid = pid;
  }

  get alive(): boolean {
    return this.#exit === undefined;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  get threads(): readonly SimThread[] {
    return this.#threads;
  }

  /**
   * Starts a thread: `main` runs in an event of its own. It ends with the process, or alone with `endThread`. If `main`
   * throws or rejects, `onError` is told, in an event of the thread; without it the process exits with code 1.
   */
  startThread(name: string, main: SimMain, onError?: (error: unknown) => void): SimThread {
    const thread = new SimThread(name, this.host.name, this.#world.random.u32());
    if (!this.alive) {
      thread.die('kill');
      return thread;
    }
    if (this.#paused) thread.state = 'paused';
    this.#threads.push(thread);
    const context = this.#context(thread);
    const failed = onError ?? ((error: unknown) => this.crashed(thread, error));
    this.#world.clock.on(thread, 0, 'start', () => {
      let running: void | Promise<void>;
      try {
        running = main(context);
      } catch (error) {
        failed(error);
        return;
      }
      if (running instanceof Promise) running.catch((error: unknown) => thread.alive && failed(error));
    });
    return thread;
  }

  /** One thread dies as if the process had been killed, the others live on. */
  endThread(thread: SimThread): void {
    this.#end([thread], 'kill');
    this.#forget(thread);
  }

  /** SIGKILL: see the head of this file. */
  kill(): void {
    this.#gone({ code: undefined, signal: 'SIGKILL' }, 'kill');
  }

  /** The process ends itself. */
  exitWith(code: number): void {
    this.#gone({ code, signal: undefined }, 'exit');
  }

  /**
   * The same in an event of its own, for code that does nothing more: an exit in the midst of an event has to remember all
   * shared memory (see above), which costs a pass over it.
   */
  exitSoon(code: number): void {
    this.#world.clock.at(0, 'process.ending', () => this.exitWith(code));
  }

  /** `endThread` alike. */
  endThreadSoon(thread: SimThread): void {
    this.#world.clock.at(0, 'thread.ending', () => this.endThread(thread));
  }

  /** @internal The host lost power. */
  powerLost(): void {
    this.#gone({ code: undefined, signal: 'SIGKILL' }, 'power');
  }

  /** SIGSTOP: no code runs until `resume`; a running event is finished first. */
  pause(): void {
    if (!this.alive || this.#paused) return;
    this.#paused = true;
    this.#world.trace.record(this.#world.clock.timeMs, this.name, 'process.pause', 0);
    for (const thread of this.#threads) if (thread.state === 'running') thread.state = 'paused';
  }

  resume(): void {
    if (!this.alive || !this.#paused) return;
    this.#paused = false;
    this.#world.trace.record(this.#world.clock.timeMs, this.name, 'process.resume', 0);
    for (const thread of this.#threads) this.#world.clock.resume(thread);
  }

  /** `fn` runs in an event of `watcher` (of the world, without one) once this process is gone, also if it is already. */
  onExit(watcher: SimThread | undefined, fn: (exit: ProcessExit) => void): void {
    this.#watchers.push({ thread: watcher, fn });
    if (this.#exit !== undefined) this.#tellWatchers();
  }

  /** @internal An error nobody caught: the process ends with code 1, as Node does. */
  crashed(thread: SimThread, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#world.trace.record(this.#world.clock.timeMs, thread.name, 'process.crash', text.split('\n')[0] ?? '');
    this.#world.crashes.push({ process: this.name, error });
    this.exitWith(1);
  }

  #gone(exit: ProcessExit, cause: DeathCause): void {
    if (!this.alive) return;
    this.#exit = exit;
    this.#world.trace.record(this.#world.clock.timeMs, this.name, `process.${cause}`, exit.code ?? 0);
    this.#end(this.#threads, cause);
    this.#threads.length = 0;
    this.#world.processGone(this);
    this.#tellWatchers();
  }

  #end(threads: readonly SimThread[], cause: DeathCause): void {
    const current = this.#world.clock.current;
    if (current?.alive === true && threads.includes(current)) {
      this.#world.clock.afterThisEvent(this.host.memory.snapshot());
    }
    for (const thread of [...threads]) thread.die(cause);
  }

  #forget(thread: SimThread): void {
    const index = this.#threads.indexOf(thread);
    if (index >= 0) this.#threads.splice(index, 1);
  }

  #tellWatchers(): void {
    const exit = this.#exit as ProcessExit;
    for (const { thread, fn } of this.#watchers.splice(0)) {
      const afterMs = this.#world.random.float();
      if (thread === undefined) this.#world.clock.at(afterMs, 'process.exited', () => fn(exit));
      else this.#world.clock.on(thread, afterMs, 'process.exited', () => fn(exit));
    }
  }

  #context(thread: SimThread): SimContext {
    const world = this.#world;
    return {
      name: thread.name,
      host: this.host.name,
      process: this,
      thread,
      clock: world.clock.processClock(thread, this.host),
      network: world.network.of(thread),
      disk: this.host.disk.of(thread),
      memory: this.host.memory.of(thread),
      random: world.random.fork(),
      logger: traceLogger(world, thread, ''),
    };
  }
}

/** Log lines go into the trace; a dead thread says nothing. */
function traceLogger(world: Surroundings, thread: SimThread, prefix: string): Logger {
  const line = (level: string) => (fields: object, message: string) => {
    if (!thread.alive) return;
    world.trace.record(world.clock.timeMs, thread.name, `log.${level}`, `${prefix}${message} ${describe(fields)}`);
  };
  return {
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    child: (bindings) => traceLogger(world, thread, `${prefix}${describe(bindings)} `),
  };
}

/** Stacks are left out: they would make the trace depend on where the checkout lies. */
function describe(fields: object): string {
  return JSON.stringify(fields, (_, value: unknown) => {
    if (typeof value === 'bigint') return value.toString();
    return value instanceof Error ? value.message : value;
  });
}
