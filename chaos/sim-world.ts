/**
 * One simulated world from one seed: hosts, processes, a network between them, and time. Everything that happens in it is
 * a function of the seed, of the code it runs and of the faults done to it.
 */
import { MillraceError, type Random, seededRandom } from '../base/index.js';
import { type RunOptions, type RunResult, SimClock, type SimClockOptions } from './sim-clock.js';
import { type SimDiskOptions, SimHostDisk } from './sim-disk.js';
import { SimHostMemory, type SimMemoryOptions } from './sim-memory.js';
import { SimNetwork, type SimNetworkOptions } from './sim-network.js';
import { type SimHost, type SimMain, SimProcess, type Surroundings } from './sim-process.js';
import { Trace } from './trace.js';

export interface SimWorldOptions {
  readonly seed: number;
  readonly clock?: SimClockOptions;
  readonly network?: SimNetworkOptions;
  readonly disk?: SimDiskOptions;
  readonly memory?: SimMemoryOptions;
  /** Entries of the trace that can be printed. */
  readonly traceCapacity?: number;
  /** Clocks of hosts differ from true time by up to this much, either way. */
  readonly skewMsMax?: number;
}

export class SimWorld implements Surroundings {
  readonly seed: number;
  readonly random: Random;
  readonly trace: Trace;
  readonly clock: SimClock;
  readonly network: SimNetwork;
  /** Errors that ended processes. What they mean is for the scenario to judge. */
  readonly crashes: { readonly process: string; readonly error: unknown }[] = [];
  readonly #options: SimWorldOptions;
  readonly #hosts = new Map<string, SimHost>();
  readonly #processes = new Map<string, SimProcess>();
  #nextPid = 100;

  constructor(options: SimWorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.random = seededRandom(options.seed);
    this.trace = new Trace(options.traceCapacity === undefined ? {} : { capacity: options.traceCapacity });
    this.clock = new SimClock(this.random.fork(), this.trace, options.clock);
    this.network = new SimNetwork(this.clock, this.random.fork(), options.network);
    this.clock.onUncaught((thread, error) => {
      const owner = [...this.#processes.values()].find((process) => process.threads.includes(thread));
      if (owner === undefined) this.clock.fail(error);
      else owner.crashed(thread, error);
    });
  }

  /** The host of this name, made at first use. */
  host(name: string): SimHost {
    const known = this.#hosts.get(name);
    if (known !== undefined) return known;
    const random = this.random.fork();
    const skewMsMax = this.#options.skewMsMax ?? 0;
    const host: SimHost = {
      name,
      disk: new SimHostDisk(this.clock, random.fork(), this.#options.disk),
      memory: new SimHostMemory(this.clock, { delayMs: () => random.float() * 0.1, ...this.#options.memory }),
      skewMs: (2 * random.float() - 1) * skewMsMax,
      bootId: random.nonce(),
    };
    this.#hosts.set(name, host);
    return host;
  }

  /** Starts a process; its name is free again once it is gone. */
  spawn(name: string, hostName: string, main: SimMain): SimProcess {
    if (this.#processes.has(name)) {
      throw new MillraceError('invalid', 'SIM_NAME_IN_USE', `a process named ${name} is alive`);
    }
    const process = new SimProcess(this, this.host(hostName), name, this.#nextPid++);
    this.#processes.set(name, process);
    this.trace.record(this.clock.timeMs, name, 'process.spawn', process.pid);
    process.startThread(name, main);
    return process;
  }

  /** Living processes, in the order of their start. */
  get processes(): readonly SimProcess[] {
    return [...this.#processes.values()];
  }

  process(name: string): SimProcess | undefined {
    return this.#processes.get(name);
  }

  /** Power lost and back: processes and memory are gone, unsynced bytes may be, and the boot id is a new one. */
  reboot(hostName: string): void {
    const host = this.host(hostName);
    this.trace.record(this.clock.timeMs, hostName, 'host.reboot', 0);
    for (const process of this.processes) if (process.host === host) process.powerLost();
    // After the event: a process that is cut off in its own event still runs to its next await, on memory that is gone.
    this.clock.afterThisEvent(() => {
      host.disk.powerCut();
      host.memory.wipe();
      host.bootId = this.random.nonce();
    });
  }

  /** Runs the world; a failure comes with the seed and the last lines of the trace. */
  async run(options: RunOptions = {}): Promise<RunResult> {
    try {
      return await this.clock.run(options);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      const message = `seed ${this.seed} failed: ${why}\n${this.trace.last(40).join('\n')}`;
      const code = cause instanceof MillraceError ? cause.code : 'SIM_FAILED';
      throw new MillraceError('internal', code, message, { cause, context: { seed: this.seed } });
    }
  }

  /** @internal */
  processGone(process: SimProcess): void {
    this.#processes.delete(process.name);
  }
}
