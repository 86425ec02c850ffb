import { createHash } from 'node:crypto';
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Disk,
  type Logger,
  type LogLevel,
  MillraceError,
  nodeDisk,
  probeMappedAtomics,
  stderrLogger,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import {
  type CheckpointLocation,
  type CheckpointStore,
  type Manifest,
  type OpenedCheckpoints,
  openCheckpointPlace,
} from '../../checkpoint/index.js';
import type { JobParams } from '../api/index.js';
import { type JobGraph, taskName } from '../graph/index.js';
import {
  isShuffleModule,
  type JobArtefact,
  loadJob,
  loadShuffle,
  loadStateStore,
  type ShuffleKind,
  type StateStoreKind,
  type TaskPosition,
} from '../runtime/index.js';
import { JobScheduler, SchedulerDriver, type SchedulerNote } from '../scheduler/index.js';
import { bundleJob } from './bundle-job.js';
import { findTarget } from './checkpoints/location.js';
import { Cluster } from './cluster.js';
import { type FrontDoorPlace, frontDoorToken } from './front-door.js';
import { explainDamage, findResumePoint, type ResumePoint } from './resume-point.js';
import { RunFolders } from './run-folders.js';
import { type CheckpointSummary, type Recovery, RunStatistics } from './run-statistics.js';
import { StateFolder } from './state-folder.js';

export interface JobRunOptions {
  readonly jobFile: string;
  readonly params: JobParams;
  readonly workers: number;
  readonly slots: number;
  readonly shuffle: ShuffleKind;
  readonly stateStore: StateStoreKind;
  readonly stateMemoryBytes?: number | undefined;
  /** Undefined: a folder of the run's own, gone with it. */
  readonly stateDir: string | undefined;
  /** Instead of the state directory's folder. */
  readonly checkpointPlace?: Partial<CheckpointLocation>;
  /** Checkpoints of this job that are there are forgotten. */
  readonly fresh?: boolean;
  /** When the newest checkpoint is damaged, goes on from the newest that is not. */
  readonly fallback?: boolean;
  readonly checkpointIntervalMs: number;
  /** Where the daemon's front door is served; nowhere without. */
  readonly frontDoor?: FrontDoorPlace | undefined;
  /** Where mapped regions go; undefined for the machine's memory-backed folder. */
  readonly memoryDir: string | undefined;
  /** Of all its processes, on stderr. */
  readonly logLevel: LogLevel;
}

/** Where a run went on from. */
export interface Resumed {
  readonly checkpoint: number;
  /** An earlier run had already finished the job: this one only commits what was not visible yet. */
  readonly finished: boolean;
  /** After a fallback: the id that the checkpoint had before, and those of the newer, damaged ones. */
  readonly fellBack: { readonly to: number; readonly damaged: readonly number[] } | undefined;
}

export interface JobStatus {
  readonly elapsedMs: number;
  /** Source rows, rolled-back ones not counted. */
  readonly rows: number;
  /** Over the last second or so. */
  readonly rowsPerSecond: number;
  readonly checkpoints: number;
  readonly lastCheckpoint: CheckpointSummary | undefined;
  readonly restarts: number;
  readonly lateDropped: number;
}

/** What a start is told to run: the job planned, and what its code and parameters hash to. */
interface PlannedJob {
  readonly graph: JobGraph;
  readonly artefact: JobArtefact;
  readonly fingerprint: string;
}

const CHECKPOINT_TIMEOUT_MS = 60_000;
const RESTARTS_MAX = 10;
const EXCEPTIONS_MAX = 3;
const SLOT_WAIT_MS = 10_000;
/** A full disk is given this many checkpoints, and HEAD this long, before the run ends with the reason. */
const STORE_FAILURES_MAX = 10;
const STORE_WAIT_MS = 20_000;
/** An object store may be away for minutes; the job runs on meanwhile. */
const REMOTE_WAIT_MS = 600_000;
const REMOTE_FAILURES_MAX = 30;

/** One embedded run of a job: its folders, its cluster of processes, its scheduler. Made by `start`, ended by `close`. */
export class JobRun {
  readonly graph: JobGraph;
  /** Undefined for a fresh start. */
  readonly resumed: Resumed | undefined;
  /** Resolves when the job has ended: undefined when it completed, else why it did not. */
  readonly ended: Promise<MillraceError | undefined>;
  /** Of the daemon, when one was asked for; and the file with the token of its clients. */
  readonly frontDoor: { readonly address: string; readonly tokenFile: string } | undefined;
  readonly #folders: RunFolders;
  readonly #closeStore: () => Promise<void>;
  readonly #state: StateFolder | undefined;
  readonly #cluster: Cluster;
  readonly #rowsBefore: number;
  readonly #driver: SchedulerDriver;
  readonly #store: CheckpointStore;
  readonly #logger: Logger;
  readonly #clock = systemClock();
  readonly #statistics = new RunStatistics(this.#clock);
  /** Source tasks whose rows count as the job's: not those of tables that are read to their end first. */
  readonly #streams: ReadonlySet<string>;
  #onNote: (note: SchedulerNote) => void = () => {};

  private constructor(parts: {
    readonly planned: PlannedJob;
    readonly folders: RunFolders;
    readonly state: StateFolder | undefined;
    readonly store: CheckpointStore;
    readonly resumePoint: ResumePoint;
    readonly explain: (error: MillraceError) => Promise<MillraceError>;
    readonly closeStore: () => Promise<void>;
    readonly cluster: Cluster;
    readonly frontDoor: JobRun['frontDoor'];
    readonly options: JobRunOptions;
    readonly logger: Logger;
  }) {
    const { planned, folders, state, store, cluster, options, logger } = parts;
    this.graph = planned.graph;
    this.#streams = streamTasks(planned.graph);
    this.#logger = logger.child({ part: 'run' });
    this.#folders = folders;
    this.#state = state;
    this.#store = store;
    this.#closeStore = parts.closeStore;
    const { latest } = store;
    const { manifest, damaged } = parts.resumePoint;
    const fellBack = manifest && damaged.length > 0 ? { to: manifest.checkpointId, damaged } : undefined;
    this.resumed = latest && { checkpoint: latest.checkpointId, finished: latest.final, fellBack };
    this.#cluster = cluster;
    this.frontDoor = parts.frontDoor;
    this.#rowsBefore = this.totals().sourceRows;
    const scheduler = new JobScheduler({
      graph: planned.graph,
      jobId: folders.runId,
      epoch: store.epoch,
      meta: JSON.stringify({ job: planned.graph.name, fingerprint: planned.fingerprint }),
      restartsMax: RESTARTS_MAX,
      exceptionsMax: EXCEPTIONS_MAX,
      checkpointTimeoutMs: CHECKPOINT_TIMEOUT_MS,
      storeFailuresMax: isRemote(options) ? REMOTE_FAILURES_MAX : STORE_FAILURES_MAX,
      latest: store.latest,
    });
    this.#driver = new SchedulerDriver({
      scheduler,
      clock: this.#clock,
      logger: logger.child({ part: 'scheduler' }),
      master: cluster.master,
      daemon: cluster.daemon,
      store,
      checkpointIntervalMs: options.checkpointIntervalMs,
      slotWaitMs: SLOT_WAIT_MS,
      storeWaitMs: isRemote(options) ? REMOTE_WAIT_MS : STORE_WAIT_MS,
      observe: (note) => this.#observe(note),
    });
    void this.#driver.ended.then(() => this.#statistics.ended());
    this.ended = this.#driver.ended.then((error) => error && parts.explain(error));
  }

  /**
   * Bundles and checks the job, claims its folders, starts its processes and lets it run.
   * @throws MillraceError what is wrong with the job file, its input, the state directory or this machine; nothing is left behind.
   */
  static async start(options: JobRunOptions): Promise<JobRun> {
    const logger = stderrLogger(options.logLevel);
    // Before anything is claimed or started: a module that is none is bad input.
    if (isShuffleModule(options.shuffle)) await loadShuffle(options.shuffle);
    await loadStateStore(options.stateStore);
    const folders = RunFolders.claim({ mapped: options.shuffle === 'mapped', memoryDir: options.memoryDir });
    // While the job is bundled; it has a process of its own, which must be gone before the folders are.
    const probing = whyNotMapped(options, folders);
    let state: StateFolder | undefined;
    let opened: OpenedCheckpoints | undefined;
    let cluster: Cluster | undefined;
    try {
      const door = options.frontDoor && { ...options.frontDoor, ...frontDoorToken(options.frontDoor, folders.path) };
      const planned = await planFile(options, folders.path);
      const unmappable = await probing;
      if (unmappable !== undefined)
        logger.warn({ reason: unmappable }, 'memory cannot be mapped here; buffers go through the daemon');
      state =
        options.stateDir === undefined
          ? undefined
          : StateFolder.claim(options.stateDir, planned.graph.name, planned.fingerprint);
      if (state !== undefined) keepArtefact(planned.artefact.bundle, state.artefacts);
      const ownFolder = state?.checkpoints ?? join(folders.path, 'checkpoints');
      const checkpoints = { url: ownFolder, ...options.checkpointPlace };
      const [disk, clock, random] = [nodeDisk(), systemClock(), systemRandom()];
      if (options.checkpointPlace?.url !== undefined) await refuseForeignFolder(disk, options.checkpointPlace.url);
      opened = await openCheckpointPlace(checkpoints, { disk, clock, random, logger });
      const { store: blobs, close: closeStore } = opened;
      const { fresh = false, fallback = false } = options;
      const looked = { store: blobs, clock, random, logger, fresh, fallback };
      const resumePoint = await findResumePoint(looked);
      checkOwner(resumePoint.manifest, planned, blobs.location, fresh);
      await checkConnectors(planned.graph, { fresh, resumePoint, logger });
      const store = await resumePoint.lead();
      const explain = (error: MillraceError) => explainDamage(error, looked);
      cluster = await Cluster.start({
        folders,
        checkpoints,
        workers: options.workers,
        slots: options.slots,
        shuffle: unmappable === undefined ? options.shuffle : 'wire',
        stateStore: options.stateStore,
        stateMemoryBytes: options.stateMemoryBytes,
        hostStateFolder: state?.hostState,
        job: planned.artefact,
        http: door,
        logger,
        logLevel: options.logLevel,
      });
      const address = door && (await cluster.frontDoor());
      const run = new JobRun({
        planned,
        folders,
        state,
        store,
        resumePoint,
        explain,
        closeStore,
        cluster,
        frontDoor: door && address !== undefined ? { address, tokenFile: door.tokenFile } : undefined,
        options,
        logger,
      });
      await cluster.serve(run.#driver);
      run.#driver.start();
      return run;
    } catch (thrown) {
      await probing;
      await cluster?.close();
      await opened?.close();
      state?.release();
      folders.release();
      throw thrown;
    }
  }

  get recoveries(): readonly Recovery[] {
    return this.#statistics.recoveries;
  }

  /** Bytes the newest complete checkpoint added. */
  get lastCheckpointBytes(): number {
    return this.#statistics.lastCheckpoint?.bytes ?? 0;
  }

  /** Id of the newest complete checkpoint there is, of this run or an earlier one. */
  get latestCheckpoint(): number | undefined {
    return this.#store.latest?.checkpointId;
  }

  /** Of the final checkpoint, or the newest there is: counted exactly once, whatever was killed. */
  totals(): { readonly sourceRows: number; readonly lateDropped: number } {
    let [sourceRows, lateDropped] = [0, 0];
    for (const { task, position } of this.#store.latest?.tasks ?? []) {
      const counted = JSON.parse(position) as TaskPosition;
      lateDropped += counted.lateDropped;
      // The streamed source, not the tables that are read beside it.
      if (this.#streams.has(task)) sourceRows += counted.sourceRows;
    }
    return { sourceRows, lateDropped };
  }

  /** Source rows this run read itself, up to its newest complete checkpoint: those before a resume are not its own. */
  get rowsOfThisRun(): number {
    return this.totals().sourceRows - this.#rowsBefore;
  }

  /** From the first moment all tasks ran to the end of the job. */
  get runSeconds(): number {
    return this.#statistics.runMs / 1000;
  }

  onNote(handler: (note: SchedulerNote) => void): void {
    this.#onNote = handler;
  }

  status(): JobStatus {
    let rows = 0;
    let lateDropped = 0;
    for (const progress of this.#driver.progress.values()) {
      if (this.#streams.has(progress.task)) rows += progress.sourceRows;
      lateDropped += progress.lateDropped;
    }
    const { runMs, checkpoints, lastCheckpoint, restarts } = this.#statistics;
    const rowsPerSecond = this.#statistics.rate(rows);
    return { elapsedMs: runMs, rows, rowsPerSecond, checkpoints, lastCheckpoint, restarts, lateDropped };
  }

  /** SIGKILLs one worker, as a fault would. Returns its name. */
  killWorker(): string {
    this.#statistics.killing();
    return this.#cluster.killWorker();
  }

  cancel(reason: string): void {
    this.#driver.cancel(reason);
  }

  /** Stops all processes and gives back all folders but the state directory. Safe at any time, more than once. */
  async close(): Promise<void> {
    this.#driver.cancel('the run was closed');
    await this.#cluster.close();
    await this.#closeStore();
    this.#state?.release();
    this.#folders.release();
  }

  #observe(note: SchedulerNote): void {
    this.#logger.info({ note }, note.what);
    this.#statistics.observe(note);
    this.#onNote(note);
  }
}

/** Why buffers cannot travel through mapped memory on this machine, or undefined when they can (or are not to). */
async function whyNotMapped(options: JobRunOptions, folders: RunFolders): Promise<string | undefined> {
  if (options.shuffle !== 'mapped') return undefined;
  return folders.memory === undefined ? 'there is no memory-backed folder' : probeMappedAtomics(folders.memory);
}

async function planFile(options: JobRunOptions, folder: string): Promise<PlannedJob> {
  const bundle = await bundleJob(options.jobFile, folder);
  const parallelism = options.workers * options.slots;
  const artefact: JobArtefact = { bundle: bundle.path, params: options.params, parallelism };
  const graph = await loadJob(artefact);
  const params = Object.entries(options.params).sort(([a], [b]) => (a < b ? -1 : 1));
  const fingerprint = createHash('sha256')
    .update(JSON.stringify([bundle.hash, params, parallelism]))
    .digest('hex');
  return { graph, artefact, fingerprint };
}

const isRemote = ({ checkpointPlace }: JobRunOptions) => checkpointPlace?.url?.startsWith('s3:') === true;

/** A store outside the state directory says itself whose checkpoints it holds. */
function checkOwner(latest: Manifest | undefined, planned: PlannedJob, location: string, fresh: boolean): void {
  if (latest === undefined) return;
  let held: { readonly job?: string; readonly fingerprint?: string } = {};
  try {
    held = JSON.parse(latest.meta) as typeof held;
  } catch {
    // Not written by a run of ours: another's, whatever it is.
  }
  const { name } = planned.graph;
  if (held.job === name && (fresh || held.fingerprint === planned.fingerprint)) return;
  const whose =
    held.job === name ? 'another version or other parameters of this job' : `job '${held.job ?? 'unknown'}'`;
  throw new MillraceError(
    'invalid',
    'CHECKPOINTS_OTHER_JOB',
    `${location} holds the checkpoints of ${whose}; choose another --checkpoint-store`,
  );
}

/** @throws MillraceError `CHECKPOINT_STORE` (invalid): something else is there. */
async function refuseForeignFolder(disk: Disk, url: string): Promise<void> {
  const { stateDir } = await findTarget(disk, url, 'CHECKPOINT_STORE');
  if (stateDir === undefined) return;
  const message = `${url} is the --state-dir of a run; name it so, or another folder for --checkpoint-store`;
  throw new MillraceError('invalid', 'CHECKPOINT_STORE', message);
}

async function checkConnectors(
  graph: JobGraph,
  {
    fresh,
    resumePoint,
    logger,
  }: { readonly fresh: boolean; readonly resumePoint: ResumePoint; readonly logger: Logger },
): Promise<void> {
  const { manifest, damaged } = resumePoint;
  const environment = {
    disk: nodeDisk(),
    clock: systemClock(),
    logger,
    fresh: fresh || manifest === undefined,
    // After a fallback there is output of what is given up, and whoever asked for it was told.
    resumesFrom: damaged.length > 0 ? undefined : manifest?.checkpointId,
  };
  for (const { body } of graph.vertices.flatMap((vertex) => vertex.nodes)) {
    if (body.kind === 'source') await body.source.check?.(environment);
    if (body.kind === 'sink') await body.sink.check?.(environment);
  }
}

function streamTasks(graph: JobGraph): Set<string> {
  const sources = graph.vertices.filter((vertex) => vertex.inputs.length === 0);
  const streams = sources.filter(
    (vertex) => vertex.outputs.some((edge) => !edge.buildFirst) || vertex.outputs.length === 0,
  );
  return new Set(
    streams.flatMap(({ id, parallelism }) =>
      Array.from({ length: parallelism }, (_, subtask) => taskName(id, subtask)),
    ),
  );
}

function keepArtefact(bundle: string, folder: string): void {
  const kept = join(folder, bundle.slice(bundle.lastIndexOf('/') + 1));
  if (!existsSync(kept)) copyFileSync(bundle, kept);
}
