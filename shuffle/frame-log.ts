import { ByteBuffer } from 'flatbuffers';
import { TaskFrame } from './generated/millrace/tasklog.js';
import { shuffleMemoryFull } from './shuffle-errors.js';
import type { TaskLog } from './task-log.js';

/** One output of a step; its frame tells the rest from its index record. */
export interface StepOutput {
  readonly partition: number;
  readonly subpartition: number;
  readonly seq: number;
  /** In the task log (`recordOf`). */
  readonly record: number;
}

/**
 * Appends task frames (task-frame.fbs) to the ring in a task log: [length u32 | position low u32 | frame, padded to 8].
 * A length of 0 means: go on at the ring's start. When the ring is full the oldest frames go (`dropped`), whatever
 * the checkpoint: recovery of this task alone then needs a newer snapshot.
 */
export class FrameLog {
  readonly #log: TaskLog;
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
    const length = OUTPUTS_BYTE + outputs.length * OUTPUT_BYTES + (determinants.length && determinants.length + 4);
    const size = 8 + Math.ceil(length / 8) * 8;
    const { framesByte, framesBytes, region } = this.#log;
    if (size > framesBytes / 2) {
      throw shuffleMemoryFull(region.name, framesBytes, length, 'raise frameBytes: a step must fit half of it');
    }
    if (this.#next + size > framesBytes) {
      if (this.#next < framesBytes) region.words[(framesByte + this.#next) / 4] = 0;
      this.#dropWithin(this.#next, framesBytes);
      this.#next = 0;
    }
    this.#dropWithin(this.#next, this.#next + size);
    const at = framesByte + this.#next;
    region.words[at / 4] = length;
    region.words[at / 4 + 1] = position | 0;
    this.#encode(at + 8, epoch, position, determinants, outputs);
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

  /**
   * The FlatBuffers bytes of a TaskFrame, in place: a table of this shape is always the same but for its numbers, and the
   * builder, with a 64-bit integer object for most of them, took as long as the checksum of a small buffer.
   *
   *     0 root | 4 vtable | 20 table: vtable's distance | 24 position | 32 epoch | 36, 40 where the vectors are
   *     44 outputs: count | 48 structs ... determinants: count | bytes
   */
  #encode(
    byte: number,
    epoch: number,
    position: number,
    determinants: Uint8Array,
    outputs: readonly StepOutput[],
  ): void {
    const log = this.#log;
    const { words } = log.region;
    const at = byte / 4;
    const determinantsAt = OUTPUTS_BYTE + outputs.length * OUTPUT_BYTES;
    words[at] = TABLE_BYTE;
    words[at + 1] = 12 | (24 << 16);
    words[at + 2] = (32 - TABLE_BYTE) | ((24 - TABLE_BYTE) << 16);
    words[at + 3] = (determinants.length === 0 ? 0 : 36 - TABLE_BYTE) | ((40 - TABLE_BYTE) << 16);
    words[at + 4] = 0;
    words[at + 5] = TABLE_BYTE - 4;
    words[at + 6] = position | 0;
    words[at + 7] = Math.floor(position / 2 ** 32);
    words[at + 8] = epoch;
    words[at + 9] = determinants.length === 0 ? 0 : determinantsAt - 36;
    words[at + 10] = 4;
    words[at + 11] = outputs.length;
    for (let i = 0, to = at + OUTPUTS_BYTE / 4; i < outputs.length; i++, to += OUTPUT_BYTES / 4) {
      const output = outputs[i] as StepOutput;
      log.describeOutput(output.record, to);
      words[to + 2] = output.seq | 0;
      words[to + 3] = Math.floor(output.seq / 2 ** 32);
      words[to + 8] = output.subpartition;
      words[to + 9] = output.partition | (log.kind(output.record) << 16);
    }
    if (determinants.length === 0) return;
    words[at + determinantsAt / 4] = determinants.length;
    log.bytes.set(determinants, byte + determinantsAt + 4);
  }
}

const TABLE_BYTE = 20;
const OUTPUTS_BYTE = 48;
/** The struct FrameOutput: offset (8) | seq (8) | checksum (8) | length | rows | subpartition | partition (2), kind (1). */
const OUTPUT_BYTES = 40;

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
