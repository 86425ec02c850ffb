import { Batch } from '../../base/columnar/index.js';
import { MillraceError, type Timer, yieldTurn } from '../../base/index.js';
import type { JobEdge, JobVertex } from '../graph/index.js';
import type { KeyVisitor } from '../operators/index.js';
import type { TaskCommand, TaskDeployment, TaskPosition } from './deployment.js';
import {
  CHECKPOINT_TRIGGERED,
  determinant,
  FLUSH_BY_TIMEOUT,
  INPUT_CONSUMED,
  SOURCE_BATCH,
  TIMERS_CONTINUED,
} from './determinants.js';
import { isDamage } from './local-state.js';
import { MAX_WATERMARK } from './operator-chain.js';
import type { SourceInput } from './source-input.js';
import type { TaskCounters, TaskEnvironment } from './task-environment.js';
import type { InputEvent, TaskInputs } from './task-inputs.js';
import { openTask } from './task-open.js';
import type { TaskParts } from './task-parts.js';

/** Steps a task takes before other tasks of its thread, and I/O, get their turn. */
const STEPS_PER_TURN = 16;
/** How long a waiting task sleeps at most; a lost doorbell costs no more than this. */
const WAIT_MS_MAX = 50;

/**
 * One attempt of one task: a mailbox loop over steps. A step consumes one input buffer (or one source batch, one command,
 * one slice of due timers), and ends in one publish, so that what it did becomes visible whole or not at all.
 *
 * Life: open -> running -> (END on all inputs) finished -> (its finished snapshot is in a complete checkpoint) done.
 * The first exception ends the attempt; `run` never rejects, it reports.
 */
export class Task {
  readonly deployment: TaskDeployment;
  readonly counters: TaskCounters = { sourceRows: 0, rowsIn: 0, rowsOut: 0, lateDropped: 0 };
  readonly #vertex: JobVertex;
  readonly #environment: TaskEnvironment;
  readonly #commands: TaskCommand[] = [];
  #parts: TaskParts | undefined;
  #phase: 'opening' | 'running' | 'finished' | 'done' | 'cancelled' | 'failed' = 'opening';
  #failure: unknown;
  #wake: () => void = () => {};
  /** Rows whose keys are waited for. */
  #held: InputEvent | undefined;
  /** Settles when the state that the next step needs is on this host; until then no step touches state. */
  #arriving: Promise<void> | undefined;
  #hasArrived = false;
  #inputWait: Promise<void> | undefined;
  #outputWait: Promise<void> | undefined;
  #lastCheckpoint: number;
  /** Settles when every snapshot taken so far is stored and reported. */
  #acknowledged: Promise<unknown> = Promise.resolve();

  constructor(deployment: TaskDeployment, environment: TaskEnvironment) {
    const vertex = environment.graph.vertices[deployment.vertex];
    if (vertex === undefined) throw new MillraceError('internal', 'VERTEX_UNKNOWN', `no vertex ${deployment.vertex}`);
    this.deployment = deployment;
    this.#vertex = vertex;
    this.#environment = environment;
    this.#lastCheckpoint = deployment.minCheckpoint - 1;
    this.counters.sourceRows = deployment.restore?.position.sourceRows ?? 0;
    this.counters.lateDropped = deployment.restore?.position.lateDropped ?? 0;
  }

  /** Takes effect before the next step. */
  command(command: TaskCommand): void {
    if (command.kind === 'cancel')
      this.#phase = this.#phase === 'done' || this.#phase === 'failed' ? this.#phase : 'cancelled';
    else this.#commands.push(command);
    this.#wake();
  }

  /** Runs the attempt to its end. Resolves when everything it opened is closed again. */
  async run(): Promise<void> {
    try {
      const parts = await openTask(this.#vertex, this.deployment, this.#environment, this.counters, () => this.#wake());
      this.#parts = parts;
      if (this.#phase === 'opening') this.#phase = 'running';
      if (this.deployment.restore?.finished === true) this.#report({ kind: 'done' });
      else {
        this.#report({ kind: 'running' });
        await this.#loop(parts);
      }
    } catch (thrown) {
      if (this.#phase !== 'cancelled') {
        this.#phase = 'failed';
        const error = this.#errorOf(thrown);
        const { task, attempt } = this.deployment;
        // A replaced attempt notices that its log is sealed, or its producer's gone, before it is told to stop: that is no news.
        const level = error.kind === 'fenced' || error.code === 'PARTITION_LOST' ? 'info' : 'warn';
        this.#environment.logger[level]({ task, attempt, code: error.code, stack: error.stack }, 'task failed');
        // Otherwise the next attempt would meet the same.
        if (isDamage(error)) await this.#parts?.local?.distrust();
        this.#report({ kind: 'failed', error: JSON.stringify(error) });
      }
    } finally {
      await this.#close();
    }
  }

  /** What user code threw says nothing of where: the task and its operators are named before it. */
  #errorOf(thrown: unknown): MillraceError {
    if (thrown instanceof MillraceError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    const place = `task ${this.deployment.task} (${this.#vertex.name})`;
    const error = new MillraceError('internal', 'TASK_FAILED', `${place}: ${message}`, { cause: thrown });
    if (thrown instanceof Error && thrown.stack !== undefined) error.stack = thrown.stack;
    return error;
  }

  async #loop(parts: TaskParts): Promise<void> {
    while (this.#phase === 'running' || this.#phase === 'finished') {
      let steps = 0;
      while (steps < STEPS_PER_TURN && this.#step(parts)) steps++;
      if (this.#failure !== undefined) throw this.#failure;
      if (steps === STEPS_PER_TURN) await yieldTurn(this.#environment.clock);
      else if (this.#phase === 'running' || this.#phase === 'finished') await this.#wait(parts);
    }
  }

  /** One step. Returns false when there is nothing to do, or no room to do it in. */
  #step(parts: TaskParts): boolean {
    const command = this.#commands.shift();
    if (command !== undefined) {
      this.#obey(parts, command);
      return true;
    }
    if (this.#phase !== 'running' || !parts.outputs.available || parts.sink?.pending !== undefined) return false;
    if (this.#arriving !== undefined) return this.#flushHeldRows(parts);
    if (parts.chain.advancing) {
      if (!this.#isHere(parts, (visit) => parts.chain.keysDue(visit))) return false;
      parts.chain.advance((timeMs) => parts.outputs.watermark(timeMs));
      parts.outputs.publish(determinant(TIMERS_CONTINUED, 0, 0));
      return true;
    }
    if (parts.source !== undefined) return this.#sourceStep(parts, parts.source);
    return this.#inputStep(parts, parts.inputs as TaskInputs);
  }

  #sourceStep(parts: TaskParts, source: SourceInput): boolean {
    const batch = source.take();
    if (batch !== undefined) {
      this.counters.sourceRows += batch.rows;
      parts.chain.batch(0, 0, batch);
      source.release();
      this.#advance(parts);
      this.#publish(parts, determinant(SOURCE_BATCH, 0, source.batches));
      return true;
    }
    if (!source.ended) {
      source.prefetch();
      return this.#flushHeldRows(parts);
    }
    parts.chain.watermark(MAX_WATERMARK);
    this.#advance(parts);
    if (!parts.chain.advancing) this.#finish(parts);
    else parts.outputs.publish(determinant(TIMERS_CONTINUED, 0, 0));
    return true;
  }

  #inputStep(parts: TaskParts, inputs: TaskInputs): boolean {
    if (inputs.allEnded) {
      this.#finish(parts);
      return true;
    }
    const event = this.#held ?? inputs.next();
    if (event === undefined) return this.#flushHeldRows(parts);
    this.#held = undefined;
    return this.#consume(parts, inputs, event);
  }

  /**
   * Whether all state that the next step needs is on this host, as it is nearly always. Otherwise it is brought here, and the same step
   * comes again.
   */
  #isHere(parts: TaskParts, keys: (visit: KeyVisitor) => void): boolean {
    const cold = parts.local?.cold;
    if (cold === undefined || cold.isLocal || this.#hasArrived) {
      this.#hasArrived = false;
      return true;
    }
    cold.letGo();
    const waits: Promise<void>[] = [];
    keys((keyGroup, key) => {
      const wait = cold.ready(keyGroup, key);
      if (wait !== undefined) waits.push(wait);
    });
    if (waits.length === 0) return true;
    this.#arriving = Promise.all(waits).then(
      () => {
        this.#arriving = undefined;
        this.#hasArrived = true;
        this.#wake();
      },
      (error) => this.#fail(error),
    );
    return false;
  }

  /** False: not yet. */
  #consume(parts: TaskParts, inputs: TaskInputs, event: InputEvent): boolean {
    switch (event.kind) {
      case 'data': {
        const { channel, buffer } = event;
        const edge = this.#edge(channel.edge);
        const at = this.#vertex.nodes.findIndex((node) => node.id === edge.toNode);
        const schema = this.#environment.graph.vertices[edge.from]?.nodes.at(-1)?.schema;
        if (schema === undefined)
          throw new MillraceError('internal', 'EDGE_UNKNOWN', `edge ${edge.id} has no producer`);
        const batch = Batch.decode(schema, buffer.bytes);
        if (!this.#isHere(parts, (visit) => parts.chain.keysOf(at, edge.toInput, batch, visit))) {
          this.#held = event;
          return false;
        }
        const seq = buffer.seq;
        this.counters.rowsIn += buffer.rows;
        parts.chain.batch(at, edge.toInput, batch);
        buffer.release();
        this.#advance(parts);
        this.#publish(parts, determinant(INPUT_CONSUMED, this.deployment.channels.indexOf(channel), seq));
        return true;
      }
      case 'watermark':
        parts.chain.watermark(event.timeMs);
        this.#advance(parts);
        this.#publish(parts, determinant(TIMERS_CONTINUED, 0, 0));
        return true;
      case 'barrier':
        this.#snapshot(parts, event.checkpoint);
        inputs.aligned();
        return true;
      case 'declined':
        this.#report({ kind: 'declined', checkpoint: event.checkpoint });
        return true;
      case 'edgeEnded': {
        const edge = this.#edge(event.edge);
        parts.chain.inputEnded(
          this.#vertex.nodes.findIndex((node) => node.id === edge.toNode),
          edge.toInput,
        );
        return true;
      }
      case 'nothing':
        return true;
    }
  }

  #obey(parts: TaskParts, command: TaskCommand): void {
    switch (command.kind) {
      case 'trigger':
        if (this.#phase === 'running' && parts.source !== undefined && command.checkpoint > this.#lastCheckpoint) {
          this.#snapshot(parts, command.checkpoint);
        }
        return;
      case 'aborted':
        // A trigger that is still on its way must find the checkpoint dead.
        if (parts.source !== undefined) this.#lastCheckpoint = Math.max(this.#lastCheckpoint, command.checkpoint);
        parts.inputs?.aborted(command.checkpoint);
        parts.state.aborted(command.checkpoint);
        return;
      case 'completed':
        parts.state.completed(command.checkpoint);
        parts.local?.completed(command.checkpoint).catch((error) => this.#fail(error));
        this.#commit(parts, command.checkpoint, command.finished);
        return;
      case 'cancel':
        return;
    }
  }

  #commit(parts: TaskParts, checkpoint: number, finished: boolean): void {
    const committed = parts.sink?.commit(finished ? Number.MAX_SAFE_INTEGER : checkpoint) ?? Promise.resolve();
    committed.then(
      () => {
        if (!finished || this.#phase !== 'finished') return;
        this.#phase = 'done';
        this.#report({ kind: 'done' });
        this.#wake();
      },
      (error) => this.#fail(error),
    );
  }

  /** Barrier out, state frozen; the task goes on. Acknowledgement when the state is written and all of it stored at the daemon. */
  #snapshot(parts: TaskParts, checkpoint: number): void {
    this.#lastCheckpoint = checkpoint;
    parts.chain.flush();
    parts.outputs.barrier(checkpoint);
    parts.outputs.publish(determinant(CHECKPOINT_TRIGGERED, 0, checkpoint));
    parts.outputs.noteHeldRows(this.#environment.clock.monotonicMs());
    const snapshot = parts.state.snapshot(checkpoint);
    const position = this.#position(parts);
    const transactions = parts.sink?.preCommit(checkpoint) ?? Promise.resolve([]);
    const { task, attempt } = this.deployment;
    const stored = async () => {
      const [open, segment] = await Promise.all([transactions, snapshot.segment]);
      const held = !segment.empty;
      if (held) await this.#environment.segments.hold(task, attempt, checkpoint, segment);
      this.#report({ kind: 'acknowledged', checkpoint, position: { ...position, transactions: open }, held });
    };
    const before = this.#acknowledged;
    this.#acknowledged = stored()
      .then(() => before)
      .catch((error) => this.#fail(error));
  }

  /** All inputs have ended and all is emitted: END out, last transaction closed. */
  #finish(parts: TaskParts): void {
    parts.chain.flush();
    parts.outputs.end();
    parts.outputs.publish(determinant(TIMERS_CONTINUED, 0, 0));
    this.#phase = 'finished';
    const position = this.#position(parts);
    const transactions = parts.sink?.preCommit(this.#lastCheckpoint + 1) ?? Promise.resolve([]);
    // After all acknowledgements: a finished snapshot would stand in for one still under way, and its positions lie past that barrier.
    // And after END is stored: whoever is finished is not run again when its worker dies.
    Promise.all([transactions, this.#acknowledged, parts.outputs.stored()]).then(
      ([open]) => this.#report({ kind: 'finished', position: { ...position, transactions: open } }),
      (error) => this.#fail(error),
    );
  }

  /** Right now, where no state has to be waited for; otherwise in steps of their own. */
  #advance(parts: TaskParts): void {
    if (parts.local?.cold.isLocal === false) return;
    parts.chain.advance((timeMs) => parts.outputs.watermark(timeMs));
  }

  #publish(parts: TaskParts, determinants: Uint8Array): void {
    parts.outputs.publish(determinants);
    parts.outputs.noteHeldRows(this.#environment.clock.monotonicMs());
  }

  /** Cuts unfinished batches whose rows have waited long enough; the cut is logged, as replay must cut at the same place. */
  #flushHeldRows(parts: TaskParts): boolean {
    const edge = parts.outputs.flushOverdue(this.#environment.clock.monotonicMs());
    if (edge < 0) return false;
    this.#publish(parts, determinant(FLUSH_BY_TIMEOUT, edge, 0));
    return true;
  }

  #position(parts: TaskParts): TaskPosition {
    const isKept = this.#environment.faults?.watermarkForgotten !== true;
    const watermark = isKept ? parts.chain.watermarkPassed : Number.NEGATIVE_INFINITY;
    const inputs = parts.inputs?.positions() ?? [];
    return {
      inputs: isKept ? inputs : inputs.map((input) => ({ ...input, watermark: null })),
      outputs: parts.outputs.positions(),
      watermark: Number.isFinite(watermark) ? watermark : null,
      source: parts.source?.position ?? null,
      transactions: [],
      sourceRows: this.counters.sourceRows,
      lateDropped: this.counters.lateDropped,
    };
  }

  /** Sleeps until something may have changed: a command, input, room for output, a source's batch, a due flush. */
  async #wait(parts: TaskParts): Promise<void> {
    if (this.#commands.length > 0) return;
    const { clock } = this.#environment;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      let waitMs = WAIT_MS_MAX;
      if (this.#phase === 'running') {
        const blocked = !parts.outputs.available;
        const pending = parts.sink?.pending;
        if (this.#arriving !== undefined) void this.#arriving.then(resolve);
        else if (pending !== undefined) pending.then(resolve, resolve);
        else if (blocked)
          this.#outputWait ??= parts.outputs.whenAvailable(WAIT_MS_MAX).finally(() => this.#outputReady());
        else if (parts.inputs !== undefined)
          this.#inputWait ??= parts.inputs.whenAvailable(WAIT_MS_MAX).finally(() => this.#inputReady());
        else if (parts.source !== undefined && parts.source.delayMs > 0)
          waitMs = Math.min(waitMs, parts.source.delayMs);
        if (!blocked) waitMs = Math.min(waitMs, parts.outputs.dueInMs(clock.monotonicMs()));
      }
      timer = clock.schedule(waitMs, resolve);
    });
    timer?.cancel();
    this.#wake = () => {};
  }

  #inputReady(): void {
    this.#inputWait = undefined;
    this.#wake();
  }

  #outputReady(): void {
    this.#outputWait = undefined;
    this.#wake();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#wake();
  }

  #edge(id: number): JobEdge {
    const edge = this.#vertex.inputs.find((input) => input.id === id);
    if (edge === undefined)
      throw new MillraceError('internal', 'EDGE_UNKNOWN', `task ${this.deployment.task} has no input edge ${id}`);
    return edge;
  }

  #report(event: DistributiveOmit<Parameters<TaskEnvironment['report']>[0], 'task' | 'attempt'>): void {
    if (this.#phase === 'cancelled') return;
    const { task, attempt } = this.deployment;
    this.#environment.report({ task, attempt, ...event });
  }

  async #close(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined) return;
    const { inputs, outputs, source, sink, state, local } = parts;
    const closing = [inputs?.close(), outputs.close(), source?.close(), sink?.close(), state.close?.(), local?.close()];
    for (const result of await Promise.allSettled(closing)) {
      if (result.status === 'rejected')
        this.#environment.logger.debug({ error: String(result.reason) }, 'closing a task');
    }
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
