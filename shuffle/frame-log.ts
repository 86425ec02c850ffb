import { Builder, ByteBuffer } from 'flatbuffers';
import { FrameOutput, TaskFrame } from './generated/millrace/tasklog.js';
import { shuffleMemoryFull } from './shuffle-errors.js';
import type { TaskLog } from './task-log.js';

/** One output of a step, as its frame tells it. */
export interface StepOutput {
  readonly partition: number;
  readonly subpartition: number;
  readonly seq: number;
  readonly kind: number;
  readonly rows: number;
  readonly offset: number;
  readonly length: number;
  readonly checksum: bigint;
}

/**
 * Appends task frames (task-frame.fbs) to the ring in a task log: [length u32 | position low u32 | frame, padded to 8].
 * A length of 0 means: go on at the ring's start. When the ring is full the oldest frames go (`dropped`), whatever
 * the checkpoint: recovery of this task alone then needs a newer snapshot.
 */
export class FrameLog {
  readonly #log: TaskLog;
  readonly #builder = new Builder(1024);
  /** Frames kept, oldest first, in a queue that is compacted now and then. */
  #kept: { readonly byte: number; readonly end: number; readonly position: number }[] = [];
  #oldest = 0;
  #next = 0;
  dropped = 0;

  constructor(log: TaskLog) {
    this.#log = log;
    for (const { byte, end, position } of keptFrames(log)) {
      this.#kept.push({ byte, end, position });
      this.#next = end;
    }
  }

  /** Encodes a step and stores it past what is published. @throws `SHUFFLE_MEMORY_FULL` when it can never fit. */
  append(epoch: number, position: number, determinants: Uint8Array, outputs: readonly StepOutput[]): void {
    const frame = this.#encode(epoch, position, determinants, outputs);
    const size = 8 + Math.ceil(frame.length / 8) * 8;
    const { framesByte, framesBytes, bytes, region } = this.#log;
    if (size > framesBytes / 2) {
      throw shuffleMemoryFull(region.name, framesBytes, frame.length, 'raise frameBytes: a step must fit half of it');
    }
    if (this.#next + size > framesBytes) {
      if (this.#next < framesBytes) region.words[(framesByte + this.#next) / 4] = 0;
      this.#dropWithin(this.#next, framesBytes);
      this.#next = 0;
    }
    this.#dropWithin(this.#next, this.#next + size);
    const at = framesByte + this.#next;
    region.words[at / 4] = frame.length;
    region.words[at / 4 + 1] = position | 0;
    bytes.set(frame, at + 8);
    const kept = { byte: this.#next, end: this.#next + size, position };
    this.#kept.push(kept);
    if (this.#kept.length - this.#oldest === 1) this.#log.setOldestFrame(kept.byte, position);
    this.#next = kept.end;
  }

  /** Takes the last appended frame back: its publication failed. */
  retract(): void {
    const last = this.#kept.pop();
    if (last !== undefined) this.#next = last.byte;
  }

  #dropWithin(from: number, to: number): void {
    for (;;) {
      const frame = this.#kept[this.#oldest];
      if (frame === undefined || frame.byte >= to || frame.end <= from) return;
      this.#oldest++;
      this.dropped++;
      const next = this.#kept[this.#oldest];
      if (next !== undefined) this.#log.setOldestFrame(next.byte, next.position);
      if (this.#oldest > 4096) {
        this.#kept = this.#kept.slice(this.#oldest);
        this.#oldest = 0;
      }
    }
  }

  #encode(epoch: number, position: number, determinants: Uint8Array, outputs: readonly StepOutput[]): Uint8Array {
    const builder = this.#builder;
    builder.clear();
    TaskFrame.startOutputsVector(builder, outputs.length);
    for (let i = outputs.length - 1; i >= 0; i--) {
      const o = outputs[i] as StepOutput;
      const offset = BigInt(o.offset);
      const seq = BigInt(o.seq);
      const { checksum, length, rows, subpartition, partition, kind } = o;
      FrameOutput.createFrameOutput(builder, offset, seq, checksum, length, rows, subpartition, partition, kind);
    }
    const outputsVector = builder.endVector();
    const determinantsVector = determinants.length === 0 ? 0 : builder.createByteVector(determinants);
    builder.finish(TaskFrame.createTaskFrame(builder, epoch, BigInt(position), determinantsVector, outputsVector));
    return builder.asUint8Array();
  }
}

/** The writer may have been stopped between the two words of the pointer: then the frame itself says what it is. */
function firstAt(log: TaskLog, byte: number, position: number): number {
  const { framesByte, framesBytes, region } = log;
  if (byte + 8 > framesBytes) return position;
  const ahead = ((region.words[(framesByte + byte) / 4 + 1] as number) - position) | 0;
  return ahead > 0 ? position + ahead : position;
}

export interface KeptFrame {
  readonly byte: number;
  readonly end: number;
  readonly position: number;
  readonly frame: TaskFrame;
}

/** The published frames that a log still holds, oldest first. Only meaningful while nobody publishes. */
export function* keptFrames(log: TaskLog): Generator<KeptFrame> {
  const { byte: start, position: first } = log.oldestFrame();
  const { framesByte, framesBytes, region } = log;
  let byte = start;
  for (let position = firstAt(log, start, first); first > 0 && position <= log.tail; position++) {
    if (byte + 8 > framesBytes || region.words[(framesByte + byte) / 4] === 0) byte = 0;
    const word = (framesByte + byte) / 4;
    const length = region.words[word] as number;
    if (length === 0 || region.words[word + 1] !== (position | 0)) return;
    const end = byte + 8 + Math.ceil(length / 8) * 8;
    const at = framesByte + byte + 8;
    const frame = TaskFrame.getRootAsTaskFrame(new ByteBuffer(log.bytes.slice(at, at + length)));
    yield { byte, end, position, frame };
    byte = end;
  }
}
