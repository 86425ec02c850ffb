import { assert, MillraceError, seededRandom, sleep } from '../base/index.js';
import { type BlobStoreFaults, CheckpointStore } from '../checkpoint/index.js';
import { Cluster } from '../engine/cli/index.js';
import { readJsonLines } from '../engine/connectors/index.js';
import type { DaemonSettings } from '../engine/daemon/index.js';
import { type JobGraph, planJob, taskName } from '../engine/graph/index.js';
import type { WorkerSettings } from '../engine/runtime/index.js';
import { type JobScheduler, SchedulerDriver } from '../engine/scheduler/index.js';
import { auditRun } from './audit-run.js';
import { scheduleFaults } from './cluster-faults.js';
import { HeadWatch } from './head-watch.js';
import { instrumentGraph } from './instrumented-graph.js';
import { OutputWatch, wholeOutputFault } from './output-watch.js';
import { type Mutant, PATIENT_MS, type Scenario } from './scenario.js';
import { SchedulerWatch, WatchedScheduler } from './scheduler-watch.js';
import { ShuffleWatch } from './shuffle-watch.js';
import { SimHostBases } from './sim-bases.js';
import { SimCheckpoints } from './sim-checkpoints.js';
import { simDaemonMain } from './sim-daemon.js';
import type { SimContext } from './sim-process.js';
import { simProcessControl } from './sim-process-control.js';
import { simWorkerMain } from './sim-worker.js';
import { SimWorld } from './sim-world.js';
import type { SimulatedJob } from './simulated-job.js';
import { simulatedJob } from './simulated-jobs.js';

export interface ScenarioReport {
  readonly seed: number;
  readonly job: string;
  readonly ok: boolean;
  /** What was wrong, with the last lines of the trace. */
  readonly violation: { readonly code: string; readonly message: string } | undefined;
  readonly traceHash: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly faults: number;
  /** One, and one for each time that the scheduler or the daemon was killed. */
  readonly runs: number;
  readonly restarts: number;
  readonly checkpoints: number;
  readonly checkpointsAborted: number;
  readonly buffers: number;
  readonly lines: number;
  /** Where state lies beneath memory: restores from there, looks at the base, transactions of the base. */
  readonly beneath?: { readonly restores: number; readonly finds: number; readonly writes: number };
  /** `fault/state`: what was done, and what the run was at. */
  readonly visited: readonly string[];
}

const HOST = 'h1';
const RUN_FOLDER = '/run';
const HOST_STATE = '/state/host-state';
/** Faults are to be met, not to use up the job's patience. */
const RESTARTS_MAX = 300;
const REST_MS = 1000;
const STAMP_SALT = 0x7374616d;
const ARENA_BYTES = 32 * 1024 * 1024;

export interface RunScenarioOptions {
  readonly mutant?: Mutant | undefined;
  /** Where to hear of promises that nobody handles: in a real process they end it. Returns how to stop listening. */
  readonly onUnhandled?: ((handler: (error: unknown) => void) => () => void) | undefined;
}

/** Runs one scenario to its end, or to the first violation. Never rejects for what the code under test does. */
export async function runScenario(scenario: Scenario, options: RunScenarioOptions = {}): Promise<ScenarioReport> {
  const run = new ScenarioRun(scenario, options.mutant);
  const stop = options.onUnhandled?.((error) => run.unhandled(error));
  try {
    return await run.run();
  } finally {
    stop?.();
  }
}

class ScenarioRun {
  readonly #scenario: Scenario;
  readonly #mutant: Mutant | undefined;
  readonly #world: SimWorld;
  readonly #job: SimulatedJob;
  readonly #graph: JobGraph;
  readonly #bases: SimHostBases;
  readonly #head: HeadWatch;
  readonly #output: OutputWatch;
  readonly #shuffle: ShuffleWatch;
  readonly #violate = (code: string, message: string) => void this.#world.clock.violate(code, message);
  readonly #doomed = new Set<string>();
  /** Of the runs so far, the newest last: one more for each time that the scheduler or the daemon was killed. */
  readonly #schedulers: SchedulerWatch[] = [];
  readonly #visited = new Set<string>();
  #localRestores = 0;
  #interrupted = false;
  #storeFaults: BlobStoreFaults | undefined;
  readonly #checkpoints: SimCheckpoints;
  #decider: JobScheduler | undefined;
  #revision = 0;
  #ended: { readonly error: MillraceError | undefined } | undefined;
  #events = 0;
  /** Of HEAD, as the last scheduler left it. */
  #epoch = 0;

  constructor(scenario: Scenario, mutant: Mutant | undefined) {
    this.#scenario = scenario;
    this.#mutant = mutant;
    this.#world = new SimWorld({ seed: scenario.seed, skewMsMax: 100, memory: { guard: scenario.guard } });
    // What user code may ask for that no replay gives again: made up for each attempt anew, but of the seed.
    const random = seededRandom(scenario.seed ^ STAMP_SALT);
    this.#job = simulatedJob(scenario.job, scenario.shape, () => ({
      nonce: random.u32(),
      ms: Math.round(this.#world.clock.timeMs),
    }));
    this.#graph = this.#plan();
    const { disk } = this.#world.host(HOST);
    const { files } = disk;
    this.#bases = new SimHostBases(disk, seededRandom(scenario.seed));
    const violate = this.#violate;
    this.#checkpoints = new SimCheckpoints(this.#world, HOST, scenario);
    this.#storeFaults = this.#checkpoints.objects?.faults;
    this.#head = new HeadWatch(this.#checkpoints.head, this.#graph);
    this.#output = new OutputWatch(files, this.#job.outputs);
    this.#shuffle = new ShuffleWatch({ violate, onTrim: (partition, seqs) => this.#trimming(partition, seqs) });
  }

  async run(): Promise<ScenarioReport> {
    const { deadlineMs, faults, calmMs, slotWaitMs } = this.#scenario;
    const patient = slotWaitMs >= PATIENT_MS;
    const world = this.#world;
    world.clock.onSettled(() => this.#look());
    this.#startRun();
    const tasks = this.#graph.vertices.flatMap(({ id, parallelism }) =>
      Array.from({ length: parallelism }, (_, s) => taskName(id, s)),
    );
    const failTask = (task: string) => void this.#doomed.add(task);
    scheduleFaults(
      {
        world,
        host: HOST,
        store: () => this.#storeFaults,
        shuffle: this.#shuffle,
        bases: this.#bases,
        tasks,
        failTask,
        patient,
        interrupt: (name) => this.#interrupt(name),
        reboot: () => this.#reboot(),
        copies: [HOST_STATE, `${RUN_FOLDER}/tier/cache`, `${RUN_FOLDER}/tier/pending`],
        loseHost: () => this.#loseHost(),
        loseState: () => this.#loseState(),
        noteFault: (fault) => void this.#visited.add(`${fault}/${this.#schedulers.at(-1)?.state ?? 'starting'}`),
      },
      faults,
      calmMs,
    );
    try {
      const { reason, events } = await world.run({
        untilMs: deadlineMs,
        until: () => this.#ended !== undefined && !this.#startsAgain && world.processes.length === 0,
      });
      this.#events = events;
      this.#checkCrashes();
      if (reason !== 'until')
        throw this.#wrong(
          'NOT_LIVE',
          `invariant 15: it is calm since ${calmMs} ms, and at ${deadlineMs} ms ${this.#stuck()}`,
        );
      this.#judge();
      await this.#audit();
      return this.#report(undefined);
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      return this.#report({ code: error.code, message: error.message });
    }
  }

  unhandled(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#world.clock.violate('UNHANDLED_REJECTION', `nobody handles this: ${text}`);
  }

  get #runId(): string {
    return `run-sim-${this.#schedulers.length}`;
  }

  /** The run that ended, or is about to, was cut short: whoever started it does so again. */
  get #startsAgain(): boolean {
    return this.#interrupted && (this.#ended === undefined || this.#ended.error !== undefined);
  }

  #startRun(): void {
    this.#interrupted = false;
    this.#ended = undefined;
    const { faults } = this.#scenario;
    const nature = { calm: faults.length === 0, rots: faults.some(({ fault }) => fault === 'bitRot') };
    this.#schedulers.push(new SchedulerWatch(this.#graph, this.#violate, nature));
    const scheduler = this.#world.spawn('scheduler', HOST, async (context) => {
      try {
        await this.#schedulerMain(context);
      } catch (error) {
        // It could not start, on a disk that fails or without its daemon; whoever started it tries again.
        if (!isUnavailable(error)) throw error;
        this.#interrupted = true;
      }
      context.process.exitSoon(0);
    });
    scheduler.onExit(undefined, () => {
      if (this.#startsAgain) this.#startAgain();
    });
  }

  #interrupt(name: 'scheduler' | 'daemon'): void {
    const process = this.#world.process(name);
    if (process === undefined || this.#startsAgain) return;
    this.#interrupted = true;
    process.kill();
  }

  #reboot(): void {
    this.#interrupted ||= !this.#startsAgain;
    this.#head.powerCut();
    this.#output.powerCut();
    this.#world.reboot(HOST);
  }

  #loseHost(): void {
    this.#reboot();
    this.#world.clock.afterThisEvent(() => {
      this.#loseFiles(RUN_FOLDER);
      this.#loseState();
    });
  }

  #loseFiles(folder: string): void {
    const { files } = this.#world.host(HOST).disk;
    for (const path of files.paths(`${folder}/`)) files.remove(path);
  }

  #loseState(): void {
    this.#loseFiles(HOST_STATE);
    for (const path of this.#bases.paths) this.#bases.lose(path);
  }

  /** Daemon and workers end when they find their run gone; the next one has folders, and so memory, of its own. */
  #startAgain(): void {
    const { clock, random, processes } = this.#world;
    for (const process of processes) clock.at(random.float() * 50, 'run.orphaned', () => process.kill());
    clock.at(100, 'run.again', () => {
      this.#world.host(HOST).memory.wipe();
      if (this.#scenario.remote?.keepsTier === false) this.#loseFiles(RUN_FOLDER);
      this.#startRun();
    });
  }

  /** What `JobRun` does, on a simulated process. */
  async #schedulerMain(context: SimContext): Promise<void> {
    const { clock, disk, random, logger } = context;
    const { workers, slots, shuffle, tiered, checkpointIntervalMs, checkpointTimeoutMs, slotWaitMs } = this.#scenario;
    const { blobs, faults } = await this.#checkpoints.open(context);
    const store = await untilAvailable(() => CheckpointStore.open({ store: blobs, random, logger }));
    await untilAvailable(() => store.takeOver());
    const cluster = await Cluster.start({
      folders: { runId: this.#runId, path: RUN_FOLDER, memory: '/shm', socket: (name) => `unix:/run/${name}.sock` },
      checkpoints: { url: this.#checkpoints.url },
      workers,
      slots,
      shuffle,
      ...(tiered === undefined
        ? {}
        : { stateStore: 'tiered', stateMemoryBytes: tiered.memoryBytes, hostStateFolder: HOST_STATE }),
      job: { bundle: '', params: {}, parallelism: workers * slots },
      logger,
      logLevel: 'silent',
      surroundings: { clock, random, network: context.network, control: this.#control(context) },
    });
    this.#storeFaults = faults;
    const scheduler = new WatchedScheduler(
      {
        graph: this.#graph,
        jobId: this.#runId,
        epoch: store.epoch,
        meta: '{}',
        restartsMax: RESTARTS_MAX,
        checkpointTimeoutMs,
        latest: store.latest,
        // Simulated jobs are short: so that their segments are merged all the time.
        compaction: { deltasMax: 2, overlayMax: 0.3, outputBytesMin: 256, outputBytesMax: 4096 },
        faults: this.#broken('trimBeforeComplete', 'ackOfDeadAttempt'),
      },
      this.#schedulers.at(-1) as SchedulerWatch,
    );
    this.#decider = scheduler;
    const driver = new SchedulerDriver({
      scheduler,
      clock,
      logger,
      master: this.#shuffle.master(cluster.master),
      daemon: cluster.daemon,
      store,
      checkpointIntervalMs,
      slotWaitMs,
      observe: (note) => logger.info({ note }, note.what),
    });
    await cluster.serve(driver);
    driver.start();
    const error = await driver.ended;
    if (error === undefined) await this.#checkLeaks(context, scheduler.tasks);
    await cluster.close();
    if (error === undefined) await this.#checkpoints.collectLast(store, clock);
    this.#epoch = store.epoch;
    for (const output of error === undefined ? this.#job.outputs : []) {
      const fault = wholeOutputFault(output, await readJsonLines(disk, output.folder));
      if (fault !== undefined) this.#world.clock.violate(fault.code, fault.message);
    }
    this.#ended = { error };
  }

  #control(context: SimContext) {
    const world = this.#world;
    const faults = this.#broken('noSeal', 'visibleBeforeStored', 'retainedPushesBack');
    const parts = {
      clock: world.clock,
      shuffle: this.#shuffle,
      faults,
      taskFaults: this.#broken('endNotAligned', 'watermarkForgotten'),
      bases: this.#bases,
      onLocalRestore: () => void this.#localRestores++,
      plan: () => this.#instrumented(),
    };
    return simProcessControl(world, context, {
      daemon: {
        host: () => HOST,
        main: (settings, onStop) => (own) =>
          simDaemonMain(own, settings as DaemonSettings, onStop, {
            clock: world.clock,
            faults,
            arenaBytes: this.#scenario.guard ? ARENA_BYTES / 4 : ARENA_BYTES,
            inlineBytesMax: this.#scenario.inlineBytesMax,
            bases: this.#bases,
            tiered: this.#scenario.tiered,
            objects: this.#checkpoints.objects,
            ...this.#broken('noBootId'),
          }),
      },
      worker: {
        host: () => HOST,
        main: (settings, onStop) => (own) => simWorkerMain(own, settings as WorkerSettings, onStop, parts),
      },
    });
  }

  /** Switches of which the one of this run's mutant is on. */
  #broken<T extends Mutant>(...mutants: readonly T[]): Partial<Record<T, boolean>> {
    return Object.fromEntries(mutants.map((mutant) => [mutant, this.#mutant === mutant])) as Partial<
      Record<T, boolean>
    >;
  }

  #plan(): JobGraph {
    return planJob(this.#job.definition.build({}), this.#scenario.workers * this.#scenario.slots);
  }

  #instrumented(): JobGraph {
    return instrumentGraph(
      this.#plan(),
      {
        step: (task) => {
          if (this.#doomed.delete(task)) throw new Error(`${task} is made to fail`);
        },
        committing: (task, transaction) => {
          this.#look();
          if (!this.#head.holdsTransaction(transaction)) {
            this.#world.clock.violate(
              'COMMITTED_BEFORE_COMPLETE',
              `invariant 7: ${task} commits ${transaction}, which no HEAD ever held`,
            );
          }
        },
      },
      this.#scenario.sourceBatchRows,
    );
  }

  #trimming(partition: string, seqs: readonly number[]): void {
    this.#look();
    const wrong = this.#head.trimmedTooFar(partition, seqs);
    if (wrong !== undefined) this.#world.clock.violate('TRIMMED_BEFORE_COMPLETE', `invariant 8: ${wrong}`);
  }

  /** After every event that changed a name on the disk. */
  #look(): void {
    const revision = this.#world.host(HOST).disk.files.revision + (this.#checkpoints.objects?.revision ?? 0);
    if (revision === this.#revision) return;
    this.#revision = revision;
    const head = this.#head.look();
    if (head !== undefined) this.#world.clock.violate('HEAD_WRONG', `invariant 6: ${head}`);
    const output = this.#output.look();
    if (output !== undefined) this.#world.clock.violate(output.code, output.message);
  }

  /** When the job has ended, while the daemon still runs: nothing of it is left in memory. */
  async #checkLeaks({ memory, disk, clock }: SimContext, attempts: JobScheduler['tasks']): Promise<void> {
    // The last faults may still be to come, and what the end set in motion must come to rest.
    await sleep(clock, Math.max(0, this.#scenario.calmMs - clock.monotonicMs()) + REST_MS);
    const regions = (await memory.list()).filter((name) => !/^shuffle-(arena|doorbells)/.test(name));
    // A daemon that was killed meanwhile leaves what it had; it goes with the folder of the run.
    if (regions.length > 0 && !this.#interrupted)
      this.#world.clock.violate('MEMORY_LEAKED', `the job has ended, in memory are ${regions.join(', ')}`);
    // What an attempt that was replaced while it could not hear left behind goes when the folder is opened next.
    for (const { folder } of this.#job.outputs) {
      const sink = this.#graph.vertices.find(({ nodes }) => nodes.at(-1)?.name === `jsonLines(${folder})`)?.id;
      const tasks = attempts.filter(({ task }) => task.startsWith(`v${sink}.`));
      const current = tasks.map(({ task, attempt }) => `${task.split('.')[1]}-${this.#runId}-${attempt}-`);
      const pending = (await disk.list(`${folder}/.pending`)).filter((name) =>
        current.some((prefix) => name.startsWith(prefix)),
      );
      if (pending.length > 0)
        this.#world.clock.violate(
          'FILES_LEAKED',
          `the job has ended, not committed in ${folder} are ${pending.join(', ')}`,
        );
    }
  }

  /** When all processes have ended: what they left. */
  async #audit(): Promise<void> {
    const findings = await auditRun({
      checkpoints: this.#checkpoints.stored(),
      files: this.#world.host(HOST).disk.files,
      graph: this.#graph,
      epoch: this.#epoch,
      outputs: this.#job.outputs,
      elsewhere: this.#checkpoints.objects === undefined ? [HOST_STATE] : [HOST_STATE, RUN_FOLDER],
      undisturbed: this.#scenario.faults.length === 0,
    });
    const [first] = findings;
    if (first !== undefined) throw this.#wrong(first.code, findings.map(({ what }) => what).join('; '));
  }

  #judge(): void {
    const error = this.#ended?.error;
    if (error !== undefined) throw this.#wrong('JOB_FAILED', `the job gave up: ${error.code}: ${error.message}`);
  }

  #checkCrashes(): void {
    // A worker that cannot reach the others ends itself, and is replaced.
    const crash = this.#world.crashes.find(({ process, error }) => !/^w\d+$/.test(process) || !isUnavailable(error));
    if (crash !== undefined) throw this.#wrong('PROCESS_CRASHED', `${crash.process} crashed: ${String(crash.error)}`);
  }

  #stuck(): string {
    const phases = this.#decider?.tasks.map(({ task, attempt, phase }) => `${task}/${attempt} ${phase}`) ?? [];
    const names = this.#world.processes.map(({ name, paused }) => (paused ? `${name} (paused)` : name));
    return `${this.#ended === undefined ? 'the job has not ended' : 'the cluster has not closed'}; processes: ${names.join(', ')}; tasks: ${phases.join(', ')}; rows missing: ${this.#output.missing}`;
  }

  #wrong(code: string, message: string): MillraceError {
    return new MillraceError(
      'internal',
      code,
      `seed ${this.#scenario.seed} failed: ${message}\n${this.#world.trace.last(40).join('\n')}`,
    );
  }

  #report(violation: ScenarioReport['violation']): ScenarioReport {
    const { seed, job, faults } = this.#scenario;
    const { trace, clock } = this.#world;
    return {
      seed,
      job,
      ok: violation === undefined,
      violation,
      traceHash: trace.hash,
      virtualMs: Math.round(clock.timeMs),
      events: this.#events,
      faults: faults.length,
      runs: this.#schedulers.length,
      restarts: this.#schedulers.reduce((sum, run) => sum + run.restarts, 0),
      checkpoints: this.#head.checkpoints,
      checkpointsAborted: this.#schedulers.reduce((sum, run) => sum + run.aborted, 0),
      buffers: this.#shuffle.buffers,
      lines: this.#output.lines,
      beneath: { restores: this.#localRestores, finds: this.#bases.finds, writes: this.#bases.writes },
      visited: [...this.#visited],
    };
  }
}

/** A start on a disk that fails is tried again by whoever started it. */
async function untilAvailable<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (thrown) {
      assert(tries < 50, `the store stays away: ${String(thrown)}`);
    }
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof MillraceError && error.kind === 'unavailable';
}
