import { type Clock, type Disk, type Logger, MillraceError, type Timer } from '../../base/index.js';
import type { RpcPeer } from '../../base/rpc/index.js';
import type { ShuffleEnvironment } from '../../shuffle/index.js';
import type { KeyGroupRange, StateStore } from '../../statestore/index.js';
import type { JobGraph } from '../graph/index.js';
import { decodeDeployment, decodeTaskCommand, encodeTaskEvent, pack } from './control-codec.js';
import { ProgressT } from './generated/millrace/control/progress.js';
import { RegisterSlotT } from './generated/millrace/control/register-slot.js';
import { TaskProgressT } from './generated/millrace/control/task-progress.js';
import { segmentClient } from './segment-client.js';
import { SERVICE } from './services.js';
import { Task } from './task.js';
import type { TaskEnvironment, TaskFaults } from './task-environment.js';

const PROGRESS_INTERVAL_MS = 100;

export interface SlotOptions {
  readonly worker: string;
  readonly slot: number;
  readonly runId: string;
  readonly graph: JobGraph;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly scheduler: RpcPeer;
  readonly daemon: RpcPeer;
  readonly shuffle: ShuffleEnvironment;
  createState(range: KeyGroupRange): StateStore;
  /** See `TaskEnvironment`. */
  readonly openState?: TaskEnvironment['openState'];
  readonly faults?: TaskFaults;
}

/**
 * One slot: the tasks that share one thread, and their line to the scheduler. Ends when that line does: a slot nobody
 * can command must not go on committing.
 */
export class Slot {
  readonly #options: SlotOptions;
  readonly #tasks = new Map<string, Task>();
  readonly #environment: TaskEnvironment;
  #progressTimer: Timer | undefined;
  #runs = new Set<Promise<void>>();

  constructor(options: SlotOptions) {
    this.#options = options;
    const { scheduler, shuffle, graph, clock, disk, logger, runId, openState } = options;
    this.#environment = {
      graph,
      clock,
      disk,
      logger,
      shuffle,
      runId,
      segments: segmentClient(options.daemon),
      createState: options.createState,
      ...(openState === undefined ? {} : { openState }),
      faults: options.faults ?? {},
      report: (event) => scheduler.notify(SERVICE.taskEvent, encodeTaskEvent(event)),
    };
    scheduler.serve(SERVICE.deploy, (body) => {
      this.#deploy(body);
      return undefined;
    });
    scheduler.serve(SERVICE.taskCommand, (body) => {
      const command = decodeTaskCommand(body);
      this.#tasks.get(taskKey(command.task, command.attempt))?.command(command);
      return undefined;
    });
  }

  /**
   * Registers, serves until the scheduler's connection ends, then stops all tasks.
   * @throws MillraceError `DAEMON_LOST` (unavailable): without a line to the daemon no task of this slot can go on.
   */
  async run(): Promise<void> {
    const { scheduler, daemon, worker, slot } = this.#options;
    await scheduler.request(SERVICE.registerSlot, pack(new RegisterSlotT(worker, slot)));
    this.#scheduleProgress();
    const daemonLost = await Promise.race([scheduler.closed.then(() => false), daemon.closed.then(() => true)]);
    this.#progressTimer?.cancel();
    for (const [, task] of this.#tasks) {
      task.command({ kind: 'cancel', task: task.deployment.task, attempt: task.deployment.attempt });
    }
    await Promise.all(this.#runs);
    if (daemonLost) throw new MillraceError('unavailable', 'DAEMON_LOST', 'the connection to the daemon was lost');
  }

  #deploy(body: Uint8Array): void {
    const deployment = decodeDeployment(body);
    const key = taskKey(deployment.task, deployment.attempt);
    if (this.#tasks.has(key)) throw new MillraceError('internal', 'DEPLOYED_TWICE', `${key} is deployed already`);
    const task = new Task(deployment, this.#environment);
    this.#tasks.set(key, task);
    const run = task.run().then(() => {
      this.#tasks.delete(key);
      this.#runs.delete(run);
    });
    this.#runs.add(run);
  }

  #scheduleProgress(): void {
    this.#progressTimer = this.#options.clock.schedule(PROGRESS_INTERVAL_MS, () => {
      this.#reportProgress();
      this.#scheduleProgress();
    });
  }

  #reportProgress(): void {
    const tasks = [...this.#tasks.values()].map(({ deployment, counters }) => {
      const [sourceRows, rowsIn, rowsOut] = [
        BigInt(counters.sourceRows),
        BigInt(counters.rowsIn),
        BigInt(counters.rowsOut),
      ];
      return new TaskProgressT(
        deployment.task,
        deployment.attempt,
        sourceRows,
        rowsIn,
        rowsOut,
        BigInt(counters.lateDropped),
      );
    });
    this.#options.scheduler.notify(SERVICE.progress, pack(new ProgressT(tasks)));
  }
}

function taskKey(task: string, attempt: number): string {
  return `${task}#${attempt}`;
}
