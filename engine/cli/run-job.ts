import { resolve } from 'node:path';
import type { MillraceError } from '../../base/index.js';
import { EXIT_FAILURE, EXIT_INTERRUPTED, errorLine, exitCodeOf } from './exit.js';
import { frontDoor, sayFrontDoor } from './front-door.js';
import { onInterrupt } from './interrupt.js';
import { JobRun } from './job-run.js';
import { openProgress, type Progress } from './progress.js';
import { type ClusterFlags, checkpointPlace, stateMemory } from './run-options.js';

/** Options of `millrace run`, as commander gives them. */
export interface RunFlags extends ClusterFlags {
  readonly fallback?: true;
  readonly param: Readonly<Record<string, string>>;
}

/** What `millrace run --json` prints. */
export interface RunResult {
  readonly ok: boolean;
  readonly job: string;
  /** Source rows that the committed output stands for, over all runs of a resumed job. */
  readonly rows: number;
  readonly seconds: number;
  /** Of this run. */
  readonly checkpoints: number;
  readonly lastCheckpointBytes: number;
  readonly restarts: number;
  /** From the last failure to every task running again; null when nothing failed. */
  readonly recoveryMs: number | null;
  readonly lateDropped: number;
  /** The checkpoint that this run went on from; null for a fresh start. */
  readonly resumedFrom: number | null;
  /** The damaged checkpoints that were passed by, newest first; none without --fallback. */
  readonly damaged: readonly number[];
  /** True when an earlier run had already finished the job. */
  readonly finishedBefore: boolean;
  readonly error?: string;
}

const TICK_MS = 100;

/** `millrace run`: resolves with the exit code when everything has ended; never rejects. */
export function runJob(file: string, flags: RunFlags): Promise<number> {
  return new JobCommand(file, flags).run();
}

/** One run of a user's job, from the command line to the exit code. */
class JobCommand {
  readonly #file: string;
  readonly #flags: RunFlags;
  readonly #stateDir: string | undefined;
  /** Where a later run finds the checkpoints; undefined: nowhere. */
  readonly #kept: string | undefined;
  #starting: Promise<JobRun | undefined> = Promise.resolve(undefined);
  #progress: Progress | undefined;
  #stopping = false;

  constructor(file: string, flags: RunFlags) {
    this.#file = file;
    this.#flags = flags;
    this.#stateDir = flags.stateDir === undefined ? undefined : resolve(flags.stateDir);
    this.#kept = flags.checkpointStore ?? this.#stateDir;
  }

  /** Resolves with the exit code when everything has ended; never rejects. */
  async run(): Promise<number> {
    const restore = onInterrupt((signal) => this.#interrupt(signal), EXIT_INTERRUPTED);
    const onCrash = (thrown: unknown) => this.#crash(thrown);
    process.on('uncaughtException', onCrash);
    try {
      const starting = this.#start();
      this.#starting = starting.catch(() => undefined);
      return await this.#finish(await starting);
    } catch (thrown) {
      return await this.#fail(thrown);
    } finally {
      process.off('uncaughtException', onCrash);
      restore();
    }
  }

  #start(): Promise<JobRun> {
    const { param, workers, slots, shuffle, stateStore, checkpointIntervalMs, shmDir, logLevel } = this.#flags;
    return JobRun.start({
      jobFile: this.#file,
      params: param,
      workers,
      slots,
      shuffle,
      stateStore,
      stateMemoryBytes: stateMemory(this.#flags),
      stateDir: this.#stateDir,
      checkpointPlace: checkpointPlace(this.#flags),
      fallback: this.#flags.fallback === true,
      checkpointIntervalMs,
      frontDoor: frontDoor(this.#flags),
      memoryDir: shmDir,
      logLevel,
    });
  }

  async #finish(run: JobRun): Promise<number> {
    const progress = this.#openProgress(run);
    const timer = setInterval(() => progress.update(run.status()), TICK_MS);
    const error = await run.ended;
    clearInterval(timer);
    progress.update(run.status());
    progress.stop();
    if (this.#stopping) return await untilExit();
    const result = resultOf(run, error);
    await run.close();
    if (this.#stopping) return await untilExit();
    if (error === undefined) this.#say(summary(result));
    else {
      // Not as it is: the line says how.
      const hint = error.code === 'CHECKPOINT_DAMAGED' ? '' : this.#resumeHint(run);
      process.stderr.write(`${errorLine(error)}${hint}\n`);
    }
    this.#print(result);
    return error === undefined ? 0 : exitCodeOf(error);
  }

  #openProgress(run: JobRun): Progress {
    const progress = openProgress(undefined, this.#quiet);
    this.#progress = progress;
    const { resumed } = run;
    if (run.frontDoor !== undefined) sayFrontDoor(run.frontDoor);
    if (resumed?.fellBack !== undefined) {
      const { to, damaged } = resumed.fellBack;
      progress.say(
        `checkpoint ${damaged.join(', ')} is damaged: back to checkpoint ${to}, known as ${resumed.checkpoint} from here on; output committed since is written again`,
      );
    }
    if (resumed?.finished === true) {
      progress.say(
        `the job had finished (checkpoint ${resumed.checkpoint} in ${this.#kept}): nothing is run again, its output stays`,
      );
    } else if (resumed !== undefined) {
      progress.say(`resuming from checkpoint ${resumed.checkpoint} in ${this.#kept}`);
    }
    run.onNote((note) => {
      if (note.what === 'restarting')
        progress.say(
          `failure: ${note.cause}; ${note.tasks.length} ${note.tasks.length === 1 ? 'task restarts' : 'tasks restart'} from the last checkpoint`,
        );
      if (note.what === 'running' && note.afterRestart) progress.say('recovered: every task runs again');
      if (note.what === 'checkpointAborted') progress.say(`checkpoint ${note.checkpoint} failed: ${note.cause}`);
    });
    return progress;
  }

  async #fail(thrown: unknown): Promise<number> {
    if (this.#stopping) return await untilExit();
    process.stderr.write(`${errorLine(thrown)}\n`);
    this.#print({ ok: false, error: errorLine(thrown) });
    return exitCodeOf(thrown);
  }

  async #interrupt(signal: string): Promise<void> {
    this.#stopping = true;
    this.#progress?.stop();
    const run = await this.#starting;
    await run?.close();
    process.stderr.write(
      `\n${signal}: stopped; nothing is left running${run === undefined ? '' : this.#resumeHint(run)}\n`,
    );
  }

  /** Something the job file started fails in this process: an end like any other, not a stack trace. */
  #crash(thrown: unknown): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#progress?.stop();
    process.stderr.write(`${errorLine(thrown)}\n`);
    this.#print({ ok: false, error: errorLine(thrown) });
    const exit = () => process.exit(EXIT_FAILURE);
    this.#starting.then((run) => run?.close()).then(exit, exit);
  }

  #resumeHint(run: JobRun): string {
    if (this.#kept === undefined) return '';
    const from = run.latestCheckpoint;
    const what = from === undefined ? 'starts anew: no checkpoint was complete' : `resumes from checkpoint ${from}`;
    return `; the same command ${what} (its checkpoints are in ${this.#kept})`;
  }

  get #quiet(): boolean {
    return this.#flags.json === true && process.stderr.isTTY !== true;
  }

  #say(line: string): void {
    if (!this.#quiet) process.stderr.write(`${line}\n`);
  }

  #print(result: Partial<RunResult>): void {
    if (this.#flags.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
  }
}

function resultOf(run: JobRun, error: MillraceError | undefined): RunResult {
  const status = run.status();
  const totals = run.totals();
  return {
    ok: error === undefined,
    job: run.graph.name,
    rows: totals.sourceRows,
    seconds: Math.round(run.runSeconds * 1000) / 1000,
    checkpoints: status.checkpoints,
    lastCheckpointBytes: run.lastCheckpointBytes,
    restarts: status.restarts,
    recoveryMs: run.recoveries.at(-1)?.durationMs ?? null,
    lateDropped: totals.lateDropped,
    resumedFrom: run.resumed?.checkpoint ?? null,
    damaged: run.resumed?.fellBack?.damaged ?? [],
    finishedBefore: run.resumed?.finished ?? false,
    ...(error === undefined ? {} : { error: errorLine(error) }),
  };
}

function summary(result: RunResult): string {
  const late = result.lateDropped === 0 ? '' : `, ${result.lateDropped} rows came too late and were dropped`;
  return `${result.job}: done, ${result.rows} rows in ${result.seconds.toFixed(1)} s, ${result.checkpoints} checkpoints, ${result.restarts} restarts${late}`;
}

/** Somebody else is ending this process. */
function untilExit(): Promise<never> {
  return new Promise(() => {});
}
