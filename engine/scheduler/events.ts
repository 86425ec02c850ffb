import type { SerializedError } from '../../base/index.js';
import type { CompactionPlan, Manifest, SegmentRef } from '../../checkpoint/index.js';
import type { WriterDescriptor } from '../../shuffle/index.js';
import type { TaskCommand, TaskDeployment, TaskEvent } from '../runtime/index.js';

/** A slot's name: `<worker>/<number>.<registration>`. */
export type SlotId = string;

/** What happens to a job, as its scheduler sees it. */
export type SchedulerEvent =
  | { readonly kind: 'slotAdded'; readonly slot: SlotId }
  /** Lost together (a worker died): one failure, one recovery. */
  | { readonly kind: 'slotsLost'; readonly slots: readonly SlotId[]; readonly reason: string }
  | { readonly kind: 'task'; readonly event: TaskEvent }
  /** The predecessor's log is sealed and gone, the partitions of this attempt are laid out. */
  | { readonly kind: 'prepared'; readonly task: string; readonly attempt: number }
  | { readonly kind: 'prepareFailed'; readonly task: string; readonly attempt: number; readonly error: SerializedError }
  | { readonly kind: 'persisted'; readonly checkpoint: number; readonly segments: ReadonlyMap<string, SegmentRef> }
  | { readonly kind: 'persistFailed'; readonly checkpoint: number; readonly reason: string }
  | { readonly kind: 'published'; readonly checkpoint: number }
  | { readonly kind: 'publishFailed'; readonly checkpoint: number; readonly error: SerializedError }
  | { readonly kind: 'compacted'; readonly compaction: number; readonly outputs: readonly SegmentRef[] }
  | { readonly kind: 'compactFailed'; readonly compaction: number }
  /** The leader epoch was taken anew: what was written under the old one can no more be brought in. */
  | { readonly kind: 'epochChanged' }
  /** The checkpoint interval has passed. */
  | { readonly kind: 'checkpointDue'; readonly nowMs: number }
  /** Slots that were lost did not come back in time. */
  | { readonly kind: 'slotsOverdue' }
  | { readonly kind: 'cancel'; readonly reason: string };

/** What the scheduler wants done. The driver does it, in order, and reports back with events. */
export type SchedulerEffect =
  /** Seal and release `supersedes`, then register `writer`. Answer: `prepared` or `prepareFailed`. */
  | {
      readonly kind: 'prepare';
      readonly task: string;
      readonly attempt: number;
      readonly writer: WriterDescriptor;
      readonly supersedes: { readonly writer: string; readonly epoch: number } | undefined;
      /** Wait so long first: what fails again and again is tried ever less often. */
      readonly delayMs: number;
    }
  | { readonly kind: 'deploy'; readonly slot: SlotId; readonly deployment: TaskDeployment }
  | { readonly kind: 'command'; readonly slot: SlotId; readonly command: TaskCommand }
  /** Store the held segments of these tasks. Answer: `persisted` or `persistFailed`. */
  | {
      readonly kind: 'persist';
      readonly checkpoint: number;
      readonly tasks: readonly { readonly task: string; readonly attempt: number }[];
    }
  /** The daemon need not hold this checkpoint's segments any longer: it is complete, or never will be. */
  | { readonly kind: 'forget'; readonly checkpoint: number; readonly completed: boolean }
  /** Move HEAD. Answer: `published` or `publishFailed`. */
  | { readonly kind: 'publish'; readonly manifest: Manifest }
  /** Merge segments, under a reserved name. Answer: `compacted` or `compactFailed`. */
  | { readonly kind: 'compact'; readonly compaction: number; readonly plan: CompactionPlan }
  /** The name's reservation may go: its outputs are in HEAD, or never will be. */
  | { readonly kind: 'compactionOver'; readonly compaction: number }
  | { readonly kind: 'trim'; readonly partition: string; readonly seqs: readonly number[] }
  | { readonly kind: 'release'; readonly writers: readonly string[] }
  /** Ask for `slotsOverdue` later. */
  | { readonly kind: 'awaitSlots' }
  /** For people: progress, logs, metrics. */
  | { readonly kind: 'note'; readonly note: SchedulerNote }
  | { readonly kind: 'ended'; readonly error: SerializedError | undefined };

export type SchedulerNote =
  | {
      readonly what: 'restarting';
      readonly tasks: readonly string[];
      readonly survivors: number;
      readonly cause: string;
    }
  | { readonly what: 'running'; readonly tasks: number; readonly afterRestart: boolean }
  | { readonly what: 'checkpointTriggered'; readonly checkpoint: number }
  | {
      readonly what: 'checkpointCompleted';
      readonly checkpoint: number;
      readonly bytes: number;
      readonly final: boolean;
    }
  | { readonly what: 'checkpointAborted'; readonly checkpoint: number; readonly cause: string };
