import type { Clock, Disk, Logger } from '../../base/index.js';
import type { SegmentRef } from '../../checkpoint/index.js';
import type { ShuffleEnvironment } from '../../shuffle/index.js';
import type { ColdState, KeyGroupRange, StateSegment, StateStore } from '../../statestore/index.js';
import type { JobGraph } from '../graph/index.js';
import type { TaskEvent } from './deployment.js';

/** What the simulator breaks on purpose, to see that it notices. Never set otherwise. */
export interface TaskFaults {
  /** A channel that has ended does not count as aligned. */
  readonly endNotAligned?: boolean;
  /** A snapshot is without the watermarks. */
  readonly watermarkForgotten?: boolean;
}

/** What a task attempt runs on. Everything outside its own thread is behind one of these. */
export interface TaskEnvironment {
  readonly graph: JobGraph;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly shuffle: ShuffleEnvironment;
  readonly segments: SegmentClient;
  /** Unique per run of the job; names uncommitted output together with task and attempt. */
  readonly runId: string;
  readonly faults?: TaskFaults;
  createState(range: KeyGroupRange): StateStore;
  /** State of an operator that stands on what this host has, restored; undefined when that is not what the task starts from. */
  openState?(operator: string, range: KeyGroupRange, segments: readonly SegmentRef[]): Promise<OpenedState | undefined>;
  report(event: TaskEvent): void;
}

/** A store, and what is to be told of it besides. */
export interface OpenedState {
  readonly state: StateStore;
  /** What it stands on. Keys are to be waited for, unless it is local. */
  readonly cold: ColdState;
  /** After the store was told. Never rejects. */
  completed(checkpoint: number): Promise<void>;
  /** What this host has was found damaged: nobody is to start from it again. Never rejects. */
  distrust(): Promise<void>;
  close(): Promise<void>;
}

/** The daemon's segment home, as a task sees it. */
export interface SegmentClient {
  /** Resolves when the daemon holds the segment. */
  hold(task: string, attempt: number, checkpoint: number, segment: StateSegment): Promise<void>;
  /** Bytes of a stored segment, verified. */
  fetch(ref: SegmentRef): Promise<Uint8Array>;
}

/** Counters of one task; hot paths bump them, nothing else. */
export interface TaskCounters {
  sourceRows: number;
  rowsIn: number;
  rowsOut: number;
  lateDropped: number;
}
