import type { SegmentRef } from '../../checkpoint/index.js';
import type { ChannelDescriptor, PartitionDescriptor } from '../../shuffle/index.js';

/** Everything a slot needs to start one attempt of one task. Plain data; travels as control.fbs `Deploy`. */
export interface TaskDeployment {
  readonly task: string;
  readonly vertex: number;
  readonly subtask: number;
  readonly attempt: number;
  readonly writer: string;
  readonly epoch: number;
  /** One per output edge of the vertex, in the vertex's order. */
  readonly partitions: readonly PartitionDescriptor[];
  /** One per (input edge, producer subtask), in the vertex's order. */
  readonly channels: readonly TaskChannel[];
  readonly restore: TaskRestore | undefined;
  /** Barriers below this id belong to checkpoints that will never complete: they are skipped. */
  readonly minCheckpoint: number;
}

export interface TaskChannel {
  readonly edge: number;
  /** Subtask of the producer. */
  readonly producer: number;
  readonly descriptor: ChannelDescriptor;
  /** Event time this channel had reached; -Infinity at a fresh start. */
  readonly watermark: number;
  /** Read to its END before the snapshot; there is nothing to attach to. */
  readonly ended: boolean;
}

export interface TaskRestore {
  readonly position: TaskPosition;
  readonly segments: readonly SegmentRef[];
  /** The task had finished: all that is left is to commit what its sink holds. */
  readonly finished: boolean;
}

/** What a snapshot holds besides keyed and operator state. Stored as JSON in the manifest. */
export interface TaskPosition {
  /** Per channel of the deployment: next seq, chain (hex), watermark (null for -Infinity), ended. */
  readonly inputs: readonly ChannelPosition[];
  /** Per output edge, per subpartition: position of the barrier's successor. */
  readonly outputs: readonly (readonly BufferPosition[])[];
  /** Event time forwarded so far; null for none. */
  readonly watermark: number | null;
  /** Of the source's reader. */
  readonly source: string | null;
  /** Pre-committed and not yet known to be committed. */
  readonly transactions: readonly SinkTransaction[];
  /** Counted exactly once, like state: rows a source has emitted, rows dropped as late. */
  readonly sourceRows: number;
  readonly lateDropped: number;
}

export interface BufferPosition {
  readonly seq: number;
  /** 16 hex digits. */
  readonly chain: string;
}

export interface ChannelPosition extends BufferPosition {
  readonly edge: number;
  readonly producer: number;
  readonly watermark: number | null;
  readonly ended: boolean;
}

export interface SinkTransaction {
  readonly checkpoint: number;
  readonly transaction: string;
}

/** What a task tells the scheduler. Travels as control.fbs `TaskEvent`. */
export type TaskEvent = { readonly task: string; readonly attempt: number } & (
  | { readonly kind: 'running' }
  /** Snapshot taken; `held`: a segment lies at the daemon. */
  | {
      readonly kind: 'acknowledged';
      readonly checkpoint: number;
      readonly position: TaskPosition;
      readonly held: boolean;
    }
  /** END went out; nothing runs any more but the sink's commits. */
  | { readonly kind: 'finished'; readonly position: TaskPosition }
  | { readonly kind: 'failed'; readonly error: string }
  /** This task cannot take part in the checkpoint (a table is still being built); it will never complete. */
  | { readonly kind: 'declined'; readonly checkpoint: number }
  /** Everything this task had to commit is committed. */
  | { readonly kind: 'done' }
);

/** What the scheduler tells a task. Travels as control.fbs `TaskCommand`. */
export type TaskCommand = { readonly task: string; readonly attempt: number } & (
  | { readonly kind: 'trigger'; readonly checkpoint: number }
  | { readonly kind: 'aborted'; readonly checkpoint: number }
  /** `finished`: the checkpoint holds this task's finished snapshot. */
  | { readonly kind: 'completed'; readonly checkpoint: number; readonly finished: boolean }
  | { readonly kind: 'cancel' }
);
