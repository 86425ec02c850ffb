import { MillraceError } from '../base/index.js';
import { checkEmitted, checkEvent } from './shuffle-errors.js';
import type { BufferKind, PartitionDescriptor, ResultPartitionWriter, SubpartitionPosition } from './spi.js';
import type { SubpartitionLog } from './subpartition-log.js';

/** What a partition needs of its task writer. */
export interface Stager {
  stageData(sub: SubpartitionLog, bytes: Uint8Array, rows: number, checksum?: bigint): void;
  stageEvent(subs: readonly SubpartitionLog[], kind: BufferKind, payload: Uint8Array): void;
}

/** One partition of a task writer; all work is the task writer's. */
export class LocalPartitionWriter implements ResultPartitionWriter {
  readonly descriptor: PartitionDescriptor;
  readonly #subpartitions: readonly SubpartitionLog[];
  readonly #writer: Stager;

  constructor(descriptor: PartitionDescriptor, subpartitions: readonly SubpartitionLog[], writer: Stager) {
    this.descriptor = descriptor;
    this.#subpartitions = subpartitions;
    this.#writer = writer;
  }

  emit(subpartition: number, bytes: Uint8Array, rows: number): void {
    checkEmitted(this.descriptor.partition, bytes, rows);
    const sub = this.#subpartitions[subpartition];
    if (sub === undefined) throw noSuchSubpartition(this.descriptor, subpartition);
    this.#writer.stageData(sub, bytes, rows);
  }

  /** As `emit`, for bytes whose checksum was verified just now. */
  emitVerified(subpartition: number, bytes: Uint8Array, rows: number, checksum: bigint): void {
    const sub = this.#subpartitions[subpartition];
    if (sub === undefined) throw noSuchSubpartition(this.descriptor, subpartition);
    this.#writer.stageData(sub, bytes, rows, checksum);
  }

  event(kind: Exclude<BufferKind, 0>, payload: Uint8Array): void {
    checkEvent(this.descriptor.partition, kind);
    checkEmitted(this.descriptor.partition, payload, 0);
    this.#writer.stageEvent(this.#subpartitions, kind, payload);
  }

  positions(): readonly SubpartitionPosition[] {
    return this.#subpartitions.map((sub) => ({ seq: sub.next, chain: sub.chain }));
  }
}

export function noSuchSubpartition(descriptor: PartitionDescriptor, subpartition: number): MillraceError {
  const { partition, subpartitions } = descriptor;
  const message = `partition "${partition}" has ${subpartitions} subpartitions, there is no ${subpartition}`;
  return new MillraceError('invalid', 'SUBPARTITION_UNKNOWN', message, { context: { partition, subpartition } });
}
