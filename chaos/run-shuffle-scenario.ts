import { MillraceError } from '../base/index.js';
import type { ShuffleFaults } from '../shuffle/index.js';
import type { RunScenarioOptions, ScenarioReport } from './run-scenario.js';
import type { Mutant } from './scenario.js';
import { type RunningService, SHUFFLE_HOST, type ShuffleParts, shuffleDaemonMain } from './shuffle-daemon.js';
import { scheduleShuffleFaults } from './shuffle-faults.js';
import { type ConsumerState, ShuffleModel, type WriterState } from './shuffle-model.js';
import { type OwnerHooks, ownerMain } from './shuffle-owner.js';
import type { ShuffleScenario } from './shuffle-scenario.js';
import { consumerMain, producerMain } from './shuffle-tasks.js';
import { ShuffleWatch } from './shuffle-watch.js';
import type { SimProcess } from './sim-process.js';
import { SimWorld } from './sim-world.js';

/** Runs the shuffle service alone, to its end or to the first violation. Never rejects for what the code under test does. */
export async function runShuffleScenario(
  scenario: ShuffleScenario,
  options: RunScenarioOptions = {},
): Promise<ScenarioReport> {
  const run = new ShuffleRun(scenario, options.mutant);
  const stop = options.onUnhandled?.((error) => run.unhandled(error));
  try {
    return await run.run();
  } finally {
    stop?.();
  }
}

class ShuffleRun {
  readonly #scenario: ShuffleScenario;
  readonly #world: SimWorld;
  readonly #model: ShuffleModel;
  readonly #watch: ShuffleWatch;
  readonly #parts: ShuffleParts;
  /** The current attempt of each consumer. */
  readonly #readers = new Map<ConsumerState, SimProcess>();
  #running: RunningService | undefined;
  #daemonsOfBoot = 0;
  #restarts = 0;
  #closing = false;
  #ended = false;

  constructor(scenario: ShuffleScenario, mutant: Mutant | undefined) {
    const faults: ShuffleFaults = mutant === undefined ? {} : { [mutant]: true };
    this.#scenario = scenario;
    this.#world = new SimWorld({ seed: scenario.seed, skewMsMax: 100, memory: { guard: scenario.guard } });
    const violate = (code: string, message: string) => void this.#world.clock.violate(code, message);
    this.#model = new ShuffleModel(violate);
    this.#watch = new ShuffleWatch({ violate, onTrim: () => {} });
    this.#parts = { scenario, model: this.#model, watch: this.#watch, faults };
    for (const plan of scenario.writers) this.#model.add(plan);
  }

  async run(): Promise<ScenarioReport> {
    const { calmMs, deadlineMs, faults, folders } = this.#scenario;
    const world = this.#world;
    this.#startDaemon(0);
    this.#startOwner();
    scheduleShuffleFaults(
      {
        world,
        model: this.#model,
        folders,
        reboot: () => this.#reboot(),
        restartDaemon: () => this.#restartDaemon(),
        replace: (process) => this.#replace(process),
      },
      faults,
      calmMs,
    );
    let events = 0;
    let violation: ScenarioReport['violation'];
    try {
      const result = await world.run({ untilMs: deadlineMs, until: () => this.#ended && world.processes.length === 0 });
      events = result.events;
      const crash = world.crashes[0];
      if (crash !== undefined) {
        const code = crash.error instanceof MillraceError ? crash.error.code : 'PROCESS_CRASHED';
        throw this.#wrong(code, `${crash.process} crashed: ${String(crash.error)}`);
      }
      if (result.reason !== 'until') {
        throw this.#wrong('NOT_LIVE', `it is calm since ${calmMs} ms, and at ${deadlineMs} ms ${this.#stuck()}`);
      }
    } catch (thrown) {
      const { code, message } = MillraceError.from(thrown);
      violation = { code, message };
    }
    return this.#report(events, violation);
  }

  unhandled(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#world.clock.violate('UNHANDLED_REJECTION', `nobody handles this: ${text}`);
  }

  #startDaemon(afterMs: number): void {
    this.#world.clock.at(afterMs, 'daemon.start', () => {
      if (this.#world.process('daemon') !== undefined || this.#closing) return;
      this.#daemonsOfBoot++;
      const daemon = this.#world.spawn('daemon', SHUFFLE_HOST, (context) =>
        shuffleDaemonMain(context, this.#parts, (running) => {
          if (context.process.alive) this.#running = running;
        }),
      );
      daemon.onExit(undefined, () => this.#startDaemon(this.#world.random.float() * 150));
    });
  }

  #restartDaemon(): void {
    this.#restarts++;
    this.#world.process('daemon')?.kill();
  }

  #startOwner(): void {
    const hooks: OwnerHooks = {
      startProducer: (state, epoch) => this.#startProducer(state, epoch),
      startConsumers: (state) => {
        const { consumersStartMs } = state.plan;
        for (const consumer of state.consumers) this.#startConsumer(consumer, consumersStartMs);
      },
      isQuiet: () => this.#isQuiet(),
      restartDaemon: () => this.#restartDaemon(),
      checkLeaks: (regions) => this.#checkLeaks(regions),
    };
    this.#world.spawn('owner', SHUFFLE_HOST, async (context) => {
      await ownerMain(context, this.#parts, hooks);
      this.#close();
      context.process.exitSoon(0);
    });
  }

  #startProducer(state: WriterState, epoch: number): void {
    const name = `p-${state.plan.writer}-${epoch}`;
    this.#world.clock.at(this.#world.random.float(), 'producer.start', () => {
      if (state.epoch !== epoch) return;
      const main = this.#world.spawn(name, SHUFFLE_HOST, (context) => producerMain(context, this.#parts, state, epoch));
      main.onExit(undefined, () => {
        if (state.epoch === epoch && state.phase === 'registered') state.attempt = 'failed';
      });
    });
  }

  #startConsumer(consumer: ConsumerState, afterMs: number): void {
    const attempt = ++consumer.attempts;
    this.#world.clock.at(afterMs, 'consumer.start', () => {
      if (consumer.attempts !== attempt || consumer.done) return;
      const process = this.#world.spawn(`${consumer.name}-${attempt}`, SHUFFLE_HOST, (context) =>
        consumerMain(context, this.#parts, consumer, attempt),
      );
      this.#readers.set(consumer, process);
      process.onExit(undefined, () => {
        if (consumer.attempts !== attempt || consumer.done) return;
        this.#restarts++;
        this.#startConsumer(consumer, this.#world.random.float() * 60);
      });
    });
  }

  #replace(process: SimProcess): void {
    for (const state of this.#model.writers) {
      const isIts = process.name === `p-${state.plan.writer}-${state.epoch}`;
      if (isIts && state.phase === 'registered' && state.attempt === 'running') state.attempt = 'givenUp';
    }
    for (const [consumer, reader] of this.#readers) {
      if (reader !== process || consumer.done) continue;
      this.#restarts++;
      this.#startConsumer(consumer, 0);
    }
  }

  #reboot(): void {
    if (this.#closing) return;
    this.#restarts++;
    this.#daemonsOfBoot = 0;
    this.#model.rebooted();
    this.#world.reboot(SHUFFLE_HOST);
    // Exits tell the daemon and the consumers to start again.
    this.#world.clock.at(5, 'owner.again', () => {
      if (this.#world.process('owner') === undefined) this.#startOwner();
    });
  }

  #isQuiet(): boolean {
    const { processes, clock } = this.#world;
    return clock.timeMs > this.#scenario.calmMs && processes.every(({ name }) => name === 'owner' || name === 'daemon');
  }

  #checkLeaks(memory: readonly string[]): void {
    const { clock } = this.#world;
    const named = memory.filter((name) => !/^shuffle-(arena|doorbells)$/.test(name));
    if (named.length > 0) clock.violate('MEMORY_LEAKED', `all is released, in memory are ${named.join(', ')}`);
    const { files } = this.#world.host(SHUFFLE_HOST).disk;
    const left = files.paths('/spill/');
    if (left.length > 0) clock.violate('FILES_LEAKED', `all is released, on disk are ${left.join(', ')}`);
    if (this.#running === undefined) return;
    const { slots, freeSlots, quarantinedSlots, writers } = this.#running.service.metrics;
    // A daemon that is killed cannot tell the next one whose open slots nobody will write to any more.
    if (writers > 0 || (freeSlots < slots && this.#daemonsOfBoot === 1)) {
      const what = `${writers} writers, ${slots - freeSlots} slots of which ${quarantinedSlots} in quarantine`;
      clock.violate('MEMORY_LEAKED', `all is released, in memory are ${what}`);
    }
    const { regions, bytesOnDisk } = this.#running.regions.metrics;
    if (regions > 0 || bytesOnDisk !== 0) {
      clock.violate('REGIONS_LEAKED', `all is released, the store has ${regions} regions of ${bytesOnDisk} bytes`);
    }
  }

  /** The service ends in an orderly way, in an event of its own thread. */
  #close(): void {
    this.#closing = true;
    const daemon = this.#world.process('daemon');
    const thread = daemon?.threads[0];
    if (daemon === undefined || thread === undefined) {
      this.#ended = true;
      return;
    }
    this.#world.clock.on(thread, 0, 'daemon.stop', async () => {
      await this.#running?.service.close();
      this.#ended = true;
      daemon.exitSoon(0);
    });
  }

  #stuck(): string {
    const names = this.#world.processes.map(({ name, paused }) => (paused ? `${name} (paused)` : name));
    const writers = this.#model.writers.map(({ plan, phase, epoch, attempt, consumers }) => {
      const channels = consumers.flatMap(({ channels }) =>
        channels.map(
          (c) => `${c.partition.partition}[${c.subpartition}] ${c.state} ${c.position}/${c.expected.length}`,
        ),
      );
      return `${plan.writer}/${epoch} ${phase} ${attempt}: ${channels.join(', ')}`;
    });
    return `it has not ended; processes: ${names.join(', ')}; ${writers.join('; ')}`;
  }

  #wrong(code: string, message: string): MillraceError {
    const text = `seed ${this.#scenario.seed} failed: ${message}\n${this.#world.trace.last(40).join('\n')}`;
    return new MillraceError('internal', code, text);
  }

  #report(events: number, violation: ScenarioReport['violation']): ScenarioReport {
    const { seed, job, faults } = this.#scenario;
    const { trace, clock } = this.#world;
    const { attempts, trims } = this.#model.counts;
    return {
      seed,
      job,
      ok: violation === undefined,
      violation,
      traceHash: trace.hash,
      virtualMs: Math.round(clock.timeMs),
      events,
      faults: faults.length,
      runs: 1,
      restarts: this.#restarts + attempts - this.#model.writers.length,
      checkpoints: trims,
      checkpointsAborted: 0,
      buffers: this.#model.counts.buffers,
      visited: [],
      lines: 0,
    };
  }
}
