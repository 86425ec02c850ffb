import type { CompactionSettings, Manifest } from '../../checkpoint/index.js';
import type { JobGraph } from '../graph/index.js';

/** What the simulator breaks on purpose, to see that it notices. Never set otherwise. */
export interface SchedulerFaults {
  /** Trims what a checkpoint covers before HEAD holds it. */
  readonly trimBeforeComplete?: boolean;
  /** Takes acknowledgements of attempts that were replaced, and lets a checkpoint go on that has some. */
  readonly ackOfDeadAttempt?: boolean;
}

export interface JobSchedulerOptions {
  readonly graph: JobGraph;
  /** Unique per run and leader; prefix of all writer and partition ids. */
  readonly jobId: string;
  /** Leader epoch: every manifest carries it. */
  readonly epoch: number;
  /** Opaque; goes into every manifest (job name, fingerprint). */
  readonly meta: string;
  /** Restarts allowed without a complete checkpoint in between. */
  readonly restartsMax: number;
  /** Likewise, of exceptions that user code threw: a bug comes back each time, and its author waits. `restartsMax` by default. */
  readonly exceptionsMax?: number;
  readonly checkpointTimeoutMs: number;
  /** So many checkpoints in a row that the store refuses end the job, to be resumed when there is room again. None: it goes on. */
  readonly storeFailuresMax?: number;
  /** To start from. */
  readonly latest: Manifest | undefined;
  readonly compaction?: CompactionSettings;
  readonly faults?: SchedulerFaults;
}
