import type { Clock } from '../../base/index.js';
import type { SchedulerNote } from '../scheduler/index.js';

export interface CheckpointSummary {
  readonly id: number;
  readonly bytes: number;
  readonly durationMs: number;
}

export interface Recovery {
  readonly cause: string;
  readonly tasks: number;
  readonly survivors: number;
  /** From the failure (or the kill that was asked for) to every task running again. */
  readonly durationMs: number;
}

const RATE_WINDOW_MS = 1000;

/** What a run tells of itself: made from the scheduler's notes and the times at which they came. */
export class RunStatistics {
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #recoveries: Recovery[] = [];
  readonly #samples: { readonly atMs: number; readonly rows: number }[] = [];
  checkpoints = 0;
  restarts = 0;
  lastCheckpoint: CheckpointSummary | undefined;
  #triggeredMs = 0;
  #restarting:
    | { readonly sinceMs: number; readonly cause: string; readonly tasks: number; readonly survivors: number }
    | undefined;
  #killedMs: number | undefined;
  #firstRunningMs: number | undefined;
  #endedMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
  }

  get recoveries(): readonly Recovery[] {
    return this.#recoveries;
  }

  /** From the first moment all tasks ran to the end of the job, or to now. */
  get runMs(): number {
    return (this.#endedMs ?? this.#clock.monotonicMs()) - (this.#firstRunningMs ?? this.#startedMs);
  }

  /** A worker is being killed on purpose: recovery counts from here. */
  killing(): void {
    this.#killedMs = this.#clock.monotonicMs();
  }

  ended(): void {
    this.#endedMs = this.#clock.monotonicMs();
  }

  /** Rows a second over the last second or so, from the total so far; falls to 0 while rows are rolled back. */
  rate(rows: number): number {
    const nowMs = this.#clock.monotonicMs();
    this.#samples.push({ atMs: nowMs, rows });
    while ((this.#samples[1]?.atMs ?? nowMs) < nowMs - RATE_WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0] as { atMs: number; rows: number };
    const spanMs = nowMs - first.atMs;
    return spanMs < 50 ? 0 : Math.max(0, ((rows - first.rows) * 1000) / spanMs);
  }

  observe(note: SchedulerNote): void {
    const nowMs = this.#clock.monotonicMs();
    switch (note.what) {
      case 'checkpointTriggered':
        this.#triggeredMs = nowMs;
        return;
      case 'checkpointCompleted':
        this.checkpoints++;
        // The final one only says that all is committed; what people ask is how much a checkpoint of running state takes.
        if (note.final && this.lastCheckpoint !== undefined) return;
        this.lastCheckpoint = {
          id: note.checkpoint,
          bytes: note.bytes,
          durationMs: Math.round(nowMs - this.#triggeredMs),
        };
        return;
      case 'restarting': {
        this.restarts++;
        const sinceMs = this.#restarting?.sinceMs ?? this.#killedMs ?? nowMs;
        this.#killedMs = undefined;
        this.#restarting = { sinceMs, cause: note.cause, tasks: note.tasks.length, survivors: note.survivors };
        return;
      }
      case 'running':
        this.#firstRunningMs ??= nowMs;
        this.#recovered(nowMs);
        return;
      case 'checkpointAborted':
        return;
    }
  }

  #recovered(nowMs: number): void {
    if (this.#restarting === undefined) return;
    const { sinceMs, ...rest } = this.#restarting;
    this.#recoveries.push({ ...rest, durationMs: Math.round(nowMs - sinceMs) });
    this.#restarting = undefined;
  }
}
