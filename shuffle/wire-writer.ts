import { Builder } from 'flatbuffers';
import { type Clock, MillraceError, type SerializedError, xxh64 } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { ChainHash } from './chain-hash.js';
import { noDoorbell } from './doorbell.js';
import { HandleT, Step, type StepAck, StepOutput, type WriterOpenedT } from './generated/millrace/shuffle.js';
import { noSuchSubpartition } from './local-partition-writer.js';
import { beforePayload, encode, SHUFFLE_SERVICES } from './message.js';
import type { ShuffleMetrics } from './metrics.js';
import { checkEmitted, checkEvent } from './shuffle-errors.js';
import type {
  BufferKind,
  PartitionDescriptor,
  ResultPartitionWriter,
  SubpartitionPosition,
  TaskWriter,
  WriterDescriptor,
} from './spi.js';
import { Waiter } from './waiter.js';
import { EVERY_SUBPARTITION } from './wire-session.js';

/**
 * A writer whose partitions are in another process. `publish` returns at once; that the step was fenced is learnt from
 * its acknowledgement, and thrown by the next call.
 */
export class WireTaskWriter implements TaskWriter {
  readonly partitions: readonly WirePartitionWriter[];
  readonly #descriptor: WriterDescriptor;
  readonly #handle: number;
  readonly #peer: RpcPeer;
  readonly #windowBytes: number;
  readonly #metrics: ShuffleMetrics;
  readonly #onClose: () => void;
  readonly #waiter: Waiter;
  readonly #builder = new Builder(1024);
  readonly #outputs: StagedOutput[] = [];
  /** What is staged; it goes to the socket as it is, and comes back when the step is acknowledged. */
  #payload = new Uint8Array(PAYLOAD_BYTES_MIN);
  #payloadBytes = 0;
  readonly #freePayloads: Uint8Array<ArrayBuffer>[] = [];
  /** The steps that are not acknowledged yet, oldest first. */
  readonly #unacked: UnackedStep[] = [];
  #unackedBytes = 0;
  readonly #awaitingStored: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  #serviceAvailable = true;
  #position: number;
  #failure: MillraceError | undefined;
  #closed = false;

  constructor(parts: {
    readonly descriptor: WriterDescriptor;
    readonly handle: number;
    readonly peer: RpcPeer;
    readonly clock: Clock;
    readonly opened: WriterOpenedT;
    readonly metrics: ShuffleMetrics;
    readonly onClose: () => void;
  }) {
    const { descriptor, opened } = parts;
    this.#descriptor = descriptor;
    this.#handle = parts.handle;
    this.#peer = parts.peer;
    this.#windowBytes = opened.windowBytes;
    this.#metrics = parts.metrics;
    this.#onClose = parts.onClose;
    this.#position = Number(opened.position);
    const positions = opened.positions.map(({ seq, chain }) => ({ seq: Number(seq), chain }));
    this.partitions = descriptor.partitions.map(
      (p, ordinal) => new WirePartitionWriter(p, ordinal, positions.splice(0, p.subpartitions), this),
    );
    this.#waiter = new Waiter(
      parts.clock,
      { ...noDoorbell(), live: true },
      0,
      () => this.available,
      () => {},
      { patient: false },
    );
  }

  get position(): number {
    return this.#position;
  }

  get available(): boolean {
    if (this.#failure !== undefined || this.#closed) return true;
    return this.#serviceAvailable && this.#unackedBytes < this.#windowBytes;
  }

  whenAvailable(timeoutMs: number): Promise<void> {
    return this.#waiter.wait(timeoutMs);
  }

  async stored(): Promise<void> {
    this.#checkOpen();
    if (this.#unacked.length > 0) {
      await new Promise<void>((resolve, reject) => void this.#awaitingStored.push({ resolve, reject }));
    }
  }

  publish(determinants: Uint8Array): number {
    this.#checkOpen();
    if (this.#outputs.length === 0 && determinants.length === 0) return this.#position;
    this.#position++;
    const head = beforePayload(this.#encodeStep(determinants));
    const bytes = head.length + this.#payloadBytes;
    // A small step must not hold a large piece of memory until it is acknowledged.
    const whole = this.#payloadBytes >= this.#payload.length / 4;
    const payload = whole ? this.#payload.subarray(0, this.#payloadBytes) : this.#payload.slice(0, this.#payloadBytes);
    this.#peer.notify(SHUFFLE_SERVICES.step, head, payload);
    this.#unacked.push({ bytes, payload: whole ? this.#payload : undefined });
    if (whole) this.#payload = this.#freePayloads.pop() ?? new Uint8Array(this.#payload.length);
    this.#unackedBytes += bytes;
    this.#metrics.stepsOut++;
    this.#outputs.length = 0;
    this.#payloadBytes = 0;
    return this.#position;
  }

  /** For the partitions of this writer. */
  stage(partition: number, subpartition: number, kind: BufferKind, rows: number, bytes: Uint8Array): bigint {
    this.#checkOpen();
    const checksum = xxh64(bytes);
    const end = this.#payloadBytes + Math.ceil(bytes.length / 8) * 8;
    if (end > this.#payload.length) {
      const grown = new Uint8Array(Math.max(end, this.#payload.length * 2));
      grown.set(this.#payload.subarray(0, this.#payloadBytes));
      this.#payload = grown;
    }
    this.#payload.set(bytes, this.#payloadBytes);
    this.#payloadBytes = end;
    this.#outputs.push({ partition, subpartition, kind, rows, length: bytes.length, checksum });
    this.#metrics.buffersOut++;
    this.#metrics.bytesOut += bytes.length;
    return checksum;
  }

  acknowledged(ack: StepAck): void {
    const error = ack.error();
    if (error !== null) this.fail(MillraceError.fromJSON(JSON.parse(error) as SerializedError));
    const unackedSteps = this.#position - Number(ack.position());
    while (this.#unacked.length > Math.max(0, unackedSteps)) this.#forget(this.#unacked.shift() as UnackedStep);
    this.#serviceAvailable = ack.available() || this.#unacked.length > 0;
    if (this.#unacked.length === 0) for (const { resolve } of this.#awaitingStored.splice(0)) resolve();
    this.#waiter.check();
  }

  #forget({ bytes, payload }: UnackedStep): void {
    this.#unackedBytes -= bytes;
    if (payload !== undefined && this.#freePayloads.length < FREE_PAYLOADS_MAX) this.#freePayloads.push(payload);
  }

  fail(error: MillraceError): void {
    this.#failure ??= error;
    for (const { reject } of this.#awaitingStored.splice(0)) reject(error);
    this.#waiter.check();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const { reject } of this.#awaitingStored.splice(0)) reject(this.#closedError());
    this.#waiter.close();
    this.#onClose();
    // When the service is gone there is nothing left to close.
    await this.#peer.request(SHUFFLE_SERVICES.closeWriter, encode(new HandleT(this.#handle))).catch(() => {});
  }

  #encodeStep(determinants: Uint8Array): Uint8Array {
    const builder = this.#builder;
    builder.clear();
    Step.startOutputsVector(builder, this.#outputs.length);
    for (let i = this.#outputs.length - 1; i >= 0; i--) {
      const { checksum, length, rows, subpartition, partition, kind } = this.#outputs[i] as StagedOutput;
      StepOutput.createStepOutput(builder, checksum, length, rows, subpartition, partition, kind);
    }
    const outputs = builder.endVector();
    const logged = determinants.length === 0 ? 0 : builder.createByteVector(determinants);
    builder.finish(Step.createStep(builder, this.#handle, BigInt(this.#position), logged, outputs));
    return builder.asUint8Array();
  }

  #checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw this.#closedError();
  }

  #closedError(): MillraceError {
    return new MillraceError('closed', 'WRITER_CLOSED', `writer "${this.#descriptor.writer}" is closed`);
  }
}

interface UnackedStep {
  readonly bytes: number;
  /** Memory that is free again afterwards. */
  readonly payload: Uint8Array<ArrayBuffer> | undefined;
}

const PAYLOAD_BYTES_MIN = 64 * 1024;
const FREE_PAYLOADS_MAX = 16;

interface StagedOutput {
  readonly partition: number;
  readonly subpartition: number;
  readonly kind: BufferKind;
  readonly rows: number;
  readonly length: number;
  readonly checksum: bigint;
}

class WirePartitionWriter implements ResultPartitionWriter {
  readonly descriptor: PartitionDescriptor;
  readonly #ordinal: number;
  readonly #positions: SubpartitionPosition[];
  readonly #writer: WireTaskWriter;
  readonly #chainHash = new ChainHash();

  constructor(
    descriptor: PartitionDescriptor,
    ordinal: number,
    positions: SubpartitionPosition[],
    writer: WireTaskWriter,
  ) {
    this.descriptor = descriptor;
    this.#ordinal = ordinal;
    this.#positions = positions;
    this.#writer = writer;
  }

  emit(subpartition: number, bytes: Uint8Array, rows: number): void {
    checkEmitted(this.descriptor.partition, bytes, rows);
    if (this.#positions[subpartition] === undefined) throw noSuchSubpartition(this.descriptor, subpartition);
    this.#advance(subpartition, this.#writer.stage(this.#ordinal, subpartition, 0, rows, bytes));
  }

  event(kind: Exclude<BufferKind, 0>, payload: Uint8Array): void {
    checkEvent(this.descriptor.partition, kind);
    checkEmitted(this.descriptor.partition, payload, 0);
    const checksum = this.#writer.stage(this.#ordinal, EVERY_SUBPARTITION, kind, 0, payload);
    for (let subpartition = 0; subpartition < this.#positions.length; subpartition++) {
      this.#advance(subpartition, checksum);
    }
  }

  positions(): readonly SubpartitionPosition[] {
    return [...this.#positions];
  }

  #advance(subpartition: number, checksum: bigint): void {
    const { seq, chain } = this.#positions[subpartition] as SubpartitionPosition;
    this.#positions[subpartition] = { seq: seq + 1, chain: this.#chainHash.next(chain, checksum) };
  }
}
