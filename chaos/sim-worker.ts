import { MillraceError } from '../base/index.js';
import { connectPeer, type RpcPeer } from '../base/rpc/index.js';
import type { JobGraph } from '../engine/graph/index.js';
import {
  openOnLocalState,
  SHUFFLE_SETTINGS,
  Slot,
  type SlotSettings,
  type SlotThreads,
  type TaskEnvironment,
  type TaskFaults,
  Worker,
  type WorkerSettings,
} from '../engine/runtime/index.js';
import { type ShuffleFaults, shuffleClient } from '../shuffle/index.js';
import { MemoryStateStore, steppedWriter } from '../statestore/index.js';
import type { ShuffleWatch } from './shuffle-watch.js';
import type { SimHostBases } from './sim-bases.js';
import { simByteFiles } from './sim-byte-files.js';
import type { SimClock } from './sim-clock.js';
import type { SimContext } from './sim-process.js';

/** What a simulated worker has besides its settings. */
export interface SimWorkerParts {
  readonly clock: SimClock;
  readonly shuffle: ShuffleWatch;
  readonly faults: ShuffleFaults;
  readonly taskFaults: TaskFaults;
  readonly bases: SimHostBases;
  /** A task starts from what its host has. */
  onLocalRestore(): void;
  /** The job planned anew, as each thread does from its bundle. */
  plan(): JobGraph;
}

/** What `worker-main.ts` does, on a simulated process. */
export async function simWorkerMain(
  context: SimContext,
  settings: WorkerSettings,
  onStop: (stop: () => void) => void,
  parts: SimWorkerParts,
): Promise<void> {
  const { clock, network, logger, process } = context;
  const threads = simSlotThreads(context, parts);
  const worker = new Worker({ settings, clock, network, logger, pid: process.pid, memory: undefined, threads });
  onStop(() => void worker.close().finally(() => process.exitSoon(0)));
  await worker.run();
  process.exitSoon(0);
}

/** Slots on simulated threads. A thread's end is heard of by the worker's own thread a moment later. */
function simSlotThreads({ process, thread: own }: SimContext, parts: SimWorkerParts): SlotThreads {
  const { clock } = parts;
  return {
    run: (settings) =>
      new Promise((resolve, reject) => {
        let ended = false;
        const main = async (context: SimContext) => {
          await simSlotMain(context, settings, parts);
          ended = true;
          process.endThreadSoon(context.thread);
        };
        const thread = process.startThread(`${settings.worker}/${settings.slot}`, main, (error) => {
          parts.clock.trace.record(clock.timeMs, thread.name, 'slot.failed', MillraceError.from(error).message);
          process.endThreadSoon(thread);
        });
        thread.onDeath(() => {
          const died = new MillraceError('unavailable', 'THREAD_DIED', `the thread of slot ${settings.slot} died`);
          clock.on(own, 0.1, 'slot.ended', () => (ended ? resolve() : reject(died)));
        });
      }),
    async close() {
      for (const thread of process.threads.filter((other) => other !== own)) process.endThread(thread);
    },
  };
}

/** What `slot-main.ts` does. */
async function simSlotMain(context: SimContext, settings: SlotSettings, parts: SimWorkerParts): Promise<void> {
  const { clock, network, disk, memory, logger } = context;
  const token = Buffer.from(settings.token, 'hex');
  const role = `slot ${settings.worker}/${settings.slot}`;
  const daemon = await connectPeer(network, settings.daemonAddress, { token, role, clock });
  const scheduler = await connectPeer(network, settings.schedulerAddress, { token, role, clock });
  const mapped = settings.shuffle === 'mapped';
  const client = shuffleClient({
    peer: daemon,
    clock,
    settings: SHUFFLE_SETTINGS,
    faults: parts.faults,
    ...(mapped ? { memory, holder: context.thread.identity } : {}),
  });
  const writer = steppedWriter(clock);
  const slot = new Slot({
    worker: settings.worker,
    slot: settings.slot,
    runId: settings.runId,
    graph: parts.plan(),
    clock,
    disk,
    logger,
    scheduler,
    daemon,
    shuffle: parts.shuffle.environment(client.environment, settings.worker, mapped),
    faults: parts.taskFaults,
    createState: (range) => new MemoryStateStore(range, { chainLengthMax: Number.POSITIVE_INFINITY, writer }),
    ...(settings.stateStore === 'tiered' ? { openState: stateOpener(context, settings, daemon, parts) } : {}),
  });
  await slot.run();
  daemon.close();
}

/** As in `slot-main.ts`. */
function stateOpener(
  { process, thread, clock, logger }: SimContext,
  { stateMemoryBytes: memoryBytesMax }: SlotSettings,
  daemon: RpcPeer,
  parts: SimWorkerParts,
): NonNullable<TaskEnvironment['openState']> {
  const local = { daemon, bases: parts.bases.of(thread), files: simByteFiles(process.host.disk), logger };
  const store = { chainLengthMax: Number.POSITIVE_INFINITY, writer: steppedWriter(clock), memoryBytesMax };
  return async (operator, range, segments) => {
    const opened = await openOnLocalState(operator, range, segments, local, store);
    if (opened !== undefined && segments.length > 0) parts.onLocalRestore();
    return opened;
  };
}
