import { applyCompaction, type CompactionSettings, planCompaction, type SegmentRef } from '../../checkpoint/index.js';
import type { SchedulerEffect } from './events.js';

interface Compaction {
  readonly id: number;
  readonly inputs: readonly SegmentRef[];
  /** Once they are stored: they wait for the next manifest. */
  outputs?: readonly SegmentRef[];
}

/**
 * Merges of tasks' segments between their plan and HEAD: at most one per task, one under way at a time. Pure bookkeeping;
 * what is lost here costs work, never state.
 */
export class Compactions {
  readonly #settings: CompactionSettings | undefined;
  readonly #byTask = new Map<string, Compaction>();
  #lastId = 0;

  constructor(settings?: CompactionSettings) {
    this.#settings = settings;
  }

  /** The next merge worth doing, unless one is under way. */
  begin(tasks: Iterable<{ readonly name: string; readonly segments: readonly SegmentRef[] }>): SchedulerEffect[] {
    for (const { outputs } of this.#byTask.values()) if (outputs === undefined) return [];
    for (const { name, segments } of tasks) {
      if (this.#byTask.has(name)) continue;
      const plan = planCompaction(segments, this.#settings);
      if (plan === undefined) continue;
      this.#byTask.set(name, { id: ++this.#lastId, inputs: plan.inputs });
      return [{ kind: 'compact', compaction: this.#lastId, plan }];
    }
    return [];
  }

  /** Its name may go at once when nobody waits for it any more. */
  stored(id: number, outputs: readonly SegmentRef[]): SchedulerEffect[] {
    for (const compaction of this.#byTask.values()) {
      if (compaction.id !== id) continue;
      compaction.outputs = outputs;
      return [];
    }
    return [{ kind: 'compactionOver', compaction: id }];
  }

  failed(id: number): SchedulerEffect[] {
    for (const [task, compaction] of this.#byTask) if (compaction.id === id) this.#byTask.delete(task);
    return [{ kind: 'compactionOver', compaction: id }];
  }

  /** A task's segments for the next manifest. */
  applied(task: string, segments: readonly SegmentRef[]): readonly SegmentRef[] {
    const compaction = this.#byTask.get(task);
    if (compaction?.outputs === undefined) return segments;
    return applyCompaction(segments, compaction.inputs, compaction.outputs) ?? segments;
  }

  /** A manifest with these segments is complete: the merge that it brought in, or that never can be any more, is over. */
  settle(task: string, segments: readonly SegmentRef[]): SchedulerEffect[] {
    const compaction = this.#byTask.get(task);
    if (compaction?.outputs === undefined) return [];
    if (applyCompaction(segments, compaction.inputs, compaction.outputs) !== undefined) return [];
    this.#byTask.delete(task);
    return [{ kind: 'compactionOver', compaction: compaction.id }];
  }

  /** The leader epoch has changed: nothing named under the old one can be brought in. */
  void(): void {
    this.#byTask.clear();
  }
}
