import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { claimRunFolder, nodeDisk, releaseRunFolder, systemRandom } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines, expectedFlights } from '../examples/index.js';
import { frontDoor, sayFrontDoor } from './front-door.js';
import { JobRun } from './job-run.js';
import { openProgress, type Progress } from './progress.js';
import { type ClusterFlags, checkpointPlace, stateMemory } from './run-options.js';

/** What `npm start -- --json` prints. */
export interface FlightsResult {
  readonly ok: boolean;
  readonly rows: number;
  readonly rowsPerSecond: number;
  readonly results: number;
  /** Of the sorted committed output, and of what an independent computation gives. */
  readonly sha256: string;
  readonly expectedSha256: string;
  readonly checkpoints: number;
  readonly lastCheckpointBytes: number;
  readonly kills: number;
  /** From the last kill to every task running again; null when nothing was killed. */
  readonly recoveryMs: number | null;
  readonly restarts: number;
  readonly duplicates: number;
  readonly missing: number;
  readonly lateDropped: number;
  readonly error?: string;
}

function restarting(tasks: number): string {
  return tasks === 1 ? '1 task restarts' : `${tasks} tasks restart`;
}

export interface FlightsDemoOptions {
  readonly jobFile: string;
  readonly flags: ClusterFlags & { readonly rate: number; readonly rows: number; readonly kill: boolean };
}

const TICK_MS = 25;

/** The main job end to end: runs it, kills a worker half way, compares the committed output with an independent computation. */
export class FlightsDemo {
  readonly #options: FlightsDemoOptions;
  readonly #temporary: string | undefined;
  readonly #out: string;
  #starting: Promise<JobRun | undefined> = Promise.resolve(undefined);
  #progress: Progress | undefined;
  #killed: string | undefined;

  constructor(options: FlightsDemoOptions) {
    this.#options = options;
    const { stateDir } = options.flags;
    this.#temporary = stateDir === undefined ? claimRunFolder(tmpdir(), `out-${systemRandom().nonce()}`) : undefined;
    this.#out = join(this.#temporary ?? resolve(stateDir as string), 'out');
  }

  async run(): Promise<FlightsResult> {
    const { flags, jobFile } = this.#options;
    const quiet = flags.json === true && process.stderr.isTTY !== true;
    const startedMs = performance.now();
    const starting = JobRun.start({
      jobFile,
      params: { rows: String(flags.rows), rate: String(flags.rate), out: this.#out },
      workers: flags.workers,
      slots: flags.slots,
      shuffle: flags.shuffle,
      stateStore: flags.stateStore,
      stateMemoryBytes: stateMemory(flags),
      stateDir: flags.stateDir === undefined ? undefined : resolve(flags.stateDir),
      checkpointPlace: checkpointPlace(flags),
      // Its output is in a temporary folder, so there is nothing to go on with.
      fresh: flags.stateDir === undefined,
      checkpointIntervalMs: flags.checkpointIntervalMs,
      frontDoor: frontDoor(flags),
      memoryDir: flags.shmDir,
      logLevel: flags.logLevel,
    });
    this.#starting = starting.catch(() => undefined);
    const run = await starting;
    this.#progress = openProgress(flags.rows, quiet);
    this.#tell(run);
    if (run.frontDoor !== undefined) sayFrontDoor(run.frontDoor);
    if (run.resumed !== undefined) {
      const { checkpoint, finished } = run.resumed;
      const what = finished ? 'had finished already, nothing runs again' : 'goes on';
      this.#progress.say(`the run in ${flags.stateDir} ${what} (checkpoint ${checkpoint})`);
    }
    const error = await this.#watch(run);
    this.#progress.stop();
    if (error !== undefined) throw error;
    const seconds = (performance.now() - startedMs) / 1000;
    return this.#prove(run, seconds, quiet);
  }

  /** Ends whatever runs and removes what is temporary. */
  async close(): Promise<void> {
    this.#progress?.stop();
    const run = await this.#starting;
    await run?.close();
    if (this.#temporary !== undefined) releaseRunFolder(this.#temporary);
  }

  #tell(run: JobRun): void {
    run.onNote((note) => {
      if (note.what === 'restarting') {
        const stay = note.survivors === 0 ? '' : `, ${note.survivors} go on undisturbed`;
        this.#progress?.say(`failure: ${note.cause}; ${restarting(note.tasks.length)} from the last checkpoint${stay}`);
      }
      if (note.what === 'running' && note.afterRestart) {
        this.#progress?.say(`recovered: every task runs again after ${run.recoveries.at(-1)?.durationMs} ms`);
      }
    });
  }

  /** Until the job ends: progress, and the kill once half of the rows are through. */
  async #watch(run: JobRun): Promise<Error | undefined> {
    const { flags } = this.#options;
    const timer = setInterval(() => {
      const status = run.status();
      this.#progress?.update(status);
      if (flags.kill && this.#killed === undefined && status.rows >= flags.rows / 2) {
        this.#killed = run.killWorker();
        this.#progress?.say(
          `killed worker ${this.#killed} (${flags.shuffle === 'memory' ? 'its threads were ended' : 'SIGKILL'})`,
        );
      }
    }, TICK_MS);
    const error = await run.ended;
    clearInterval(timer);
    this.#progress?.update(run.status());
    return error;
  }

  async #prove(run: JobRun, seconds: number, quiet: boolean): Promise<FlightsResult> {
    const { flags } = this.#options;
    const status = run.status();
    const datasets = createRequire(import.meta.url).resolve('vega-datasets');
    const data = (name: string) => resolve(datasets, '../../data', name);
    const files = { flightsFile: data('flights-3m.parquet'), airportsFile: data('airports.csv') };
    const expected = await expectedFlights({ ...files, rows: flags.rows });
    const committed = await readJsonLines(nodeDisk(), this.#out);
    const { duplicates, missing, unexpected, sha256 } = compareLines(committed, expected.lines);
    const totals = run.totals();
    const recovery = run.recoveries.at(-1);
    const ok =
      sha256 === expected.sha256 && duplicates === 0 && missing === 0 && unexpected === 0 && totals.lateDropped === 0;
    const result: FlightsResult = {
      ok,
      rows: totals.sourceRows,
      rowsPerSecond: Math.round(run.rowsOfThisRun / Math.max(0.001, run.runSeconds)),
      results: committed.length,
      sha256,
      expectedSha256: expected.sha256,
      checkpoints: status.checkpoints,
      lastCheckpointBytes: run.lastCheckpointBytes,
      kills: this.#killed === undefined ? 0 : 1,
      recoveryMs: this.#killed === undefined ? null : (recovery?.durationMs ?? null),
      restarts: status.restarts,
      duplicates,
      missing,
      lateDropped: totals.lateDropped,
    };
    if (!quiet) this.#report(result, committed, seconds);
    return result;
  }

  #report(result: FlightsResult, committed: readonly string[], seconds: number): void {
    const say = (line: string) => void process.stderr.write(`${line}\n`);
    const worst = committed
      .map((line) => JSON.parse(line) as Record<string, string | number>)
      .filter((row) => Number(row['flights']) >= 20)
      .sort((a, b) => Number(b['meanDelay']) - Number(a['meanDelay']))
      .slice(0, 5);
    say('\nWorst hours of airports with 20 departures or more:');
    for (const row of worst) {
      const hour = String(row['windowStart']).slice(0, 13).replace('T', ' ');
      const delay = Number(row['meanDelay']).toFixed(0).padStart(4);
      say(
        `  ${hour}h  ${String(row['origin']).padEnd(4)} ${delay} min late on average, ${row['flights']} flights  ${row['name']}`,
      );
    }
    if (this.#killed !== undefined) {
      say(`\nKilled: worker ${this.#killed}. Recovery: ${result.recoveryMs} ms to every task running again.`);
    }
    say(
      result.ok
        ? `\nProved: ${result.results} rows of output equal an independent computation over ${result.rows} rows (sha256 ${result.sha256.slice(0, 12)}).`
        : `\nWRONG OUTPUT: ${result.missing} missing, ${result.duplicates} duplicates, ${result.lateDropped} late; sha256 ${result.sha256} instead of ${result.expectedSha256}.`,
    );
    say(`${result.rowsPerSecond} rows/s, ${result.checkpoints} checkpoints, ${seconds.toFixed(1)} s in all.`);
  }
}
