import { type Clock, MillraceError, ownThread, type SharedMemory, type SharedRegion } from '../base/index.js';
import { Arena } from './arena.js';
import { countedMemory } from './counted-memory.js';
import { Cursors } from './cursors.js';
import { DOORBELLS_REGION, type Doorbell, nextDoorbell } from './doorbell.js';
import { LocalChannel } from './local-channel.js';
import { LocalGate } from './local-gate.js';
import { LocalTaskWriter } from './local-writer.js';
import { type LogPointer, openPointer } from './log-pointer.js';
import { type ShuffleMetrics, shuffleMetrics } from './metrics.js';
import { SHUFFLE_DEFAULTS, type ShuffleFaults, type ShuffleSettings } from './settings.js';
import { checkChannels, partitionLost, writerFenced, writerUnknown } from './shuffle-errors.js';
import type { ChannelDescriptor, InputGate, ShuffleEnvironment, TaskWriter, WriterDescriptor } from './spi.js';
import { fetchBytesFor, type ReadSpilled } from './spilled-reader.js';
import { STATE_OPEN, STATE_REGISTERED, TaskLog } from './task-log.js';

export interface LocalEnvironmentOptions {
  readonly memory: SharedMemory;
  readonly clock: Clock;
  readonly doorbell: Doorbell;
  /** The thread that writes: what it leaves is given to others once it is gone. This one, by default. */
  readonly holder?: string;
  readonly settings?: Partial<ShuffleSettings>;
  /** Told what this thread may write to, so that the service can clean up after it. */
  readonly onWriter?: (writer: string, epoch: number, state: 'opened' | 'closed') => void;
  readonly faults?: ShuffleFaults;
  /** How buffers are read that are on the service's disks; without it they are lost to this thread. */
  readonly readSpilled?: ReadSpilled;
  /** Counters to add to; own ones by default. */
  readonly metrics?: ShuffleMetrics;
}

/** Writers and gates over shared memory, for one thread. The service is not asked: what exists stands in the memory. */
export class LocalEnvironment implements ShuffleEnvironment {
  readonly metrics: ShuffleMetrics;
  readonly #options: LocalEnvironmentOptions;
  readonly #memory: SharedMemory;
  readonly #holder: string;
  readonly #settings: ShuffleSettings;
  readonly #open = new Set<{ close(): Promise<void> }>();
  #readArena: Promise<Arena> | undefined;
  #writeArena: Promise<Arena> | undefined;
  #doorbellRegion: Promise<SharedRegion> | undefined;

  constructor(options: LocalEnvironmentOptions) {
    this.#options = options;
    this.metrics = options.metrics ?? shuffleMetrics();
    this.#memory = countedMemory(options.memory);
    this.#holder = options.holder ?? ownThread();
    this.#settings = { ...SHUFFLE_DEFAULTS, ...options.settings };
  }

  async openWriter(writer: WriterDescriptor): Promise<TaskWriter> {
    const { clock, doorbell, faults = {}, onWriter } = this.#options;
    const { epoch } = writer;
    const pointer = await openPointer(this.#memory, 'writer', writer.writer, 'read');
    const logNumber = pointer?.logNumber ?? 0;
    if (pointer !== undefined) this.#memory.retire(pointer.region);
    if (logNumber === 0) throw writerUnknown(writer.writer, epoch);
    const regions: SharedRegion[] = [];
    const retire = () => {
      for (const region of regions) this.#memory.retire(region);
    };
    try {
      const log = await TaskLog.open(this.#memory, logNumber, 'write');
      regions.push(log.region);
      if (log.epoch > epoch) throw writerFenced(writer.writer, epoch, log.epoch);
      if (log.epoch < epoch) throw writerUnknown(writer.writer, epoch);
      const cursors = await Cursors.open(this.#memory, log.cursorsNumber);
      regions.push(cursors.region);
      this.#writeArena ??= Arena.open(this.#memory, 'write');
      const arena = await this.#writeArena;
      if (!log.changeState(STATE_REGISTERED, STATE_OPEN)) throw writerTaken(writer.writer, epoch);
      log.setHolder(this.#holder);
      const onClose = () => {
        retire();
        this.#open.delete(opened);
        onWriter?.(writer.writer, epoch, 'closed');
      };
      const { metrics } = this;
      const settings = this.#settings;
      const opened = new LocalTaskWriter({
        log,
        cursors,
        arena,
        clock,
        doorbell,
        settings,
        metrics,
        faults,
        address: nextDoorbell(await this.#doorbells()),
        onClose,
      });
      this.#open.add(opened);
      onWriter?.(writer.writer, epoch, 'opened');
      return opened;
    } catch (e) {
      retire();
      throw e;
    }
  }

  async openGate(channels: readonly ChannelDescriptor[]): Promise<InputGate> {
    checkChannels(channels);
    const { clock, doorbell } = this.#options;
    this.#readArena ??= Arena.open(this.#memory, 'read').catch((e: unknown) => {
      this.#readArena = undefined;
      throw e;
    });
    const regions: SharedRegion[] = [];
    const retire = () => {
      for (const region of regions) this.#memory.retire(region);
    };
    try {
      const attached: LocalChannel[] = [];
      const opened = new Map<string, OpenedPartition>();
      for (const channel of channels)
        attached.push(await this.#attach(channel, opened, regions, fetchBytesFor(channels.length)));
      const address = nextDoorbell(await this.#doorbells());
      const openLog = async (number: number) => {
        const log = await TaskLog.open(this.#memory, number, 'read');
        regions.push(log.region);
        return log;
      };
      const onClose = () => {
        retire();
        this.#open.delete(gate);
      };
      const { metrics } = this;
      const gate = new LocalGate({ channels: attached, address, clock, doorbell, metrics, openLog, onClose });
      this.#open.add(gate);
      return gate;
    } catch (e) {
      retire();
      throw e;
    }
  }

  async close(): Promise<void> {
    for (const opened of [...this.#open]) await opened.close();
    for (const arena of [this.#readArena, this.#writeArena]) {
      const opened = await arena?.catch(() => undefined);
      if (opened !== undefined) this.#memory.retire(opened.region);
    }
    const doorbells = await this.#doorbellRegion?.catch(() => undefined);
    if (doorbells !== undefined) this.#memory.retire(doorbells);
    this.#readArena = undefined;
    this.#writeArena = undefined;
    this.#doorbellRegion = undefined;
  }

  async #doorbells(): Promise<SharedRegion> {
    this.#doorbellRegion ??= this.#memory.open(DOORBELLS_REGION, 'write');
    return this.#doorbellRegion;
  }

  /** A gate may have thousands of channels of one partition: `opened` has what they share. */
  async #attach(
    channel: ChannelDescriptor,
    opened: Map<string, OpenedPartition>,
    regions: SharedRegion[],
    fetchBytes: number,
  ): Promise<LocalChannel> {
    const { partition, subpartition, from } = channel;
    const arena = await (this.#readArena as Promise<Arena>);
    const readSpilled = this.#options.readSpilled ?? cannotReadSpilled;
    for (;;) {
      const known = opened.get(partition);
      if (known !== undefined && known.pointer.logNumber === known.log.number) {
        const { pointer, log, cursors } = known;
        return new LocalChannel(channel, pointer, log, cursors, arena, readSpilled, fetchBytes);
      }
      const pointer = await openPointer(this.#memory, 'partition', partition, 'read');
      if (pointer !== undefined) regions.push(pointer.region);
      if (pointer === undefined || pointer.logNumber === 0) {
        throw partitionLost(partition, subpartition, from.seq, 'no such partition is registered');
      }
      const logNumber = pointer.logNumber;
      try {
        const log = await TaskLog.open(this.#memory, logNumber, 'read');
        regions.push(log.region);
        const cursors = await Cursors.open(this.#memory, log.cursorsNumber);
        regions.push(cursors.region);
        opened.set(partition, { pointer, log, cursors });
        return new LocalChannel(channel, pointer, log, cursors, arena, readSpilled, fetchBytes);
      } catch (e) {
        // The log went away between the two looks: released, or succeeded by a later attempt.
        if (!(e instanceof MillraceError && e.code === 'MEMORY_NOT_FOUND') || pointer.logNumber === logNumber) throw e;
      }
    }
  }
}

interface OpenedPartition {
  readonly pointer: LogPointer;
  readonly log: TaskLog;
  readonly cursors: Cursors;
}

function writerTaken(writer: string, epoch: number): MillraceError {
  const message = `writer "${writer}" of epoch ${epoch} was opened before: a new attempt needs a new epoch`;
  return new MillraceError('invalid', 'WRITER_TAKEN', message, { context: { writer, epoch } });
}

async function cannotReadSpilled(partition: string, subpartition: number, seq: number): Promise<never> {
  throw partitionLost(partition, subpartition, seq, 'it is on disk, and this client has no connection to the service');
}
