import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import {
  type Clock,
  type Logger,
  type Network,
  type SharedMemory,
  serveMappedMemory,
  serveSharedArrayMemory,
  sleep,
  type Timer,
} from '../../base/index.js';
import { connectPeer, type RpcPeer } from '../../base/rpc/index.js';
import { WriterThread } from '../../statestore/index.js';
import { pack } from './control-codec.js';
import { RegisterWorkerT } from './generated/millrace/control/register-worker.js';
import { SERVICE } from './services.js';
import type { SlotThread } from './slot-main.js';
import type { SlotSettings, WorkerSettings } from './worker-settings.js';

/** A slot that dies so often without ever running for long is given up. */
const FAILURES_MAX = 20;
const SETTLED_MS = 10_000;
const LINE_ENDED_MS = 100;

/** Where slots run: threads that can die alone. */
export interface SlotThreads {
  /** Runs one slot in a thread of its own, to its end. Rejects when the thread dies. */
  run(settings: SlotSettings): Promise<void>;
  /** Ends all threads, whatever they are doing. */
  close(): Promise<void>;
}

export interface WorkerOptions {
  readonly settings: WorkerSettings;
  readonly clock: Clock;
  readonly network: Network;
  readonly logger: Logger;
  readonly pid: number;
  /** Where the regions are when they are SharedArrayBuffers of this process (`--shuffle memory`). */
  readonly memory: SharedMemory | undefined;
  /** A pool of worker threads by default. */
  readonly threads?: SlotThreads;
}

/**
 * A worker: slots as threads of a pool with one warm spare, and a heartbeat to the scheduler from a thread that does
 * nothing else. A slot whose thread dies is given the spare. Ends when the scheduler's connection does.
 */
export class Worker {
  readonly #options: WorkerOptions;
  readonly #threads: SlotThreads;
  #scheduler: RpcPeer | undefined;
  #heartbeat: Timer | undefined;
  #closing = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#threads = options.threads ?? pooledThreads(options);
  }

  /** Registers and runs until the scheduler is gone or `close` is called. */
  async run(): Promise<void> {
    const { settings, clock, network, pid } = this.#options;
    const token = Buffer.from(settings.token, 'hex');
    const scheduler = await connectPeer(network, settings.schedulerAddress, {
      token,
      role: `worker ${settings.worker}`,
      clock,
    });
    this.#scheduler = scheduler;
    await scheduler.request(
      SERVICE.registerWorker,
      pack(new RegisterWorkerT(settings.worker, pid, settings.slots, settings.version)),
    );
    this.#beat();
    const slots = Array.from({ length: settings.slots }, (_, slot) => this.#keepSlot(slot));
    await scheduler.closed;
    this.#closing = true;
    this.#heartbeat?.cancel();
    await Promise.all(slots);
    await this.close();
  }

  /** Stops the threads, whatever they are doing. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#heartbeat?.cancel();
    this.#scheduler?.close();
    await this.#threads.close();
  }

  async #keepSlot(slot: number): Promise<void> {
    const { settings, logger, clock } = this.#options;
    for (let failures = 0; !this.#closing && failures < FAILURES_MAX; failures++) {
      const startedMs = clock.monotonicMs();
      try {
        await this.#threads.run({ ...settings, slot });
        // Its line to the scheduler ended. If ours ended too we hear of it now; else it begins anew, on another line.
        await sleep(clock, LINE_ENDED_MS);
      } catch (error) {
        if (this.#closing) return;
        logger.warn({ slot, error: String(error) }, 'a slot died; its thread is replaced by the warm spare');
        if (clock.monotonicMs() - startedMs > SETTLED_MS) failures = 0;
        await sleep(clock, failures * 100);
      }
    }
  }

  #beat(): void {
    const { clock, settings } = this.#options;
    this.#scheduler?.notify(SERVICE.heartbeat, new Uint8Array(0));
    this.#heartbeat = clock.schedule(settings.heartbeatMs, () => this.#beat());
  }
}

/** Threads of a pool with one warm spare. */
function pooledThreads({ settings, memory }: WorkerOptions): SlotThreads {
  const threads = settings.slots + 1;
  // Only processes that run slots load it.
  const opening = import('piscina').then(
    ({ Piscina }) =>
      new Piscina({
        filename: fileURLToPath(new URL('./slot-main.js', import.meta.url)),
        minThreads: threads,
        maxThreads: threads,
        concurrentTasksPerWorker: 1,
        idleTimeout: Number.POSITIVE_INFINITY,
        // An idle spare must keep its event loop: it is not to sleep in Atomics.wait.
        atomics: 'disabled',
      }),
  );
  const writers = new WriterThread();
  return {
    async run(slot) {
      const pool = await opening;
      const mapped = settings.shuffle === 'mapped';
      const writer = writers.connect();
      const given: SlotThread = { settings: slot, writer };
      if (memory === undefined && !mapped) return void (await pool.run(given, { transferList: [writer] }));
      const { port1, port2 } = new MessageChannel();
      if (mapped) serveMappedMemory({ folder: settings.memoryFolder as string }, port1);
      else serveSharedArrayMemory(memory as SharedMemory, port1);
      try {
        await pool.run({ ...given, port: port2 } satisfies SlotThread, { transferList: [writer, port2] });
      } finally {
        // What is mapped stays until the thread is gone: then this end closes too.
        if (!mapped) port1.close();
      }
    },
    async close() {
      await (await opening).destroy();
      await writers.close();
    },
  };
}
