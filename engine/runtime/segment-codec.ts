import { MillraceError } from '../../base/index.js';
import type { CompactionPlan, SegmentRef } from '../../checkpoint/index.js';
import { pack, segmentFromTable, segmentToTable, text, unpack } from './control-codec.js';
import { Compact, CompactT } from './generated/millrace/control/compact.js';
import { Compacted, CompactedT } from './generated/millrace/control/compacted.js';
import { Fetch, FetchT } from './generated/millrace/control/fetch.js';
import { Forget, ForgetT } from './generated/millrace/control/forget.js';
import { Hold, HoldT } from './generated/millrace/control/hold.js';
import { Persist, PersistT } from './generated/millrace/control/persist.js';
import { Persisted, PersistedT } from './generated/millrace/control/persisted.js';
import { TaskAttemptT } from './generated/millrace/control/task-attempt.js';
import { TaskSegmentT } from './generated/millrace/control/task-segment.js';

export interface HoldRequest {
  readonly task: string;
  readonly attempt: number;
  readonly checkpoint: number;
  readonly bytes: Uint8Array;
}

/** u32 little-endian length of the table, the table, then the segment's bytes as they are. */
export function encodeHold(request: HoldRequest): Uint8Array {
  const table = pack(new HoldT(request.task, request.attempt, BigInt(request.checkpoint)));
  const message = new Uint8Array(4 + table.length + request.bytes.length);
  new DataView(message.buffer).setUint32(0, table.length, true);
  message.set(table, 4);
  message.set(request.bytes, 4 + table.length);
  return message;
}

export function decodeHold(message: Uint8Array): HoldRequest {
  const length = message.length < 4 ? -1 : new DataView(message.buffer, message.byteOffset).getUint32(0, true);
  if (length < 0 || length > message.length - 4) {
    throw new MillraceError('corrupt', 'CONTROL_CORRUPT', `a hold message of ${message.length} bytes is cut short`);
  }
  const table = unpack('hold', message.subarray(4, 4 + length), (buffer) => Hold.getRootAsHold(buffer).unpack());
  const bytes = message.subarray(4 + length);
  return {
    task: text(table.task),
    attempt: table.attempt,
    checkpoint: Number(table.checkpoint),
    bytes,
  };
}

export function encodeFetch(ref: SegmentRef): Uint8Array {
  return pack(new FetchT(segmentToTable(ref)));
}

export function decodeFetch(message: Uint8Array): SegmentRef {
  const segment = unpack('fetch', message, (buffer) => Fetch.getRootAsFetch(buffer).unpack()).segment;
  if (segment === null) throw new MillraceError('corrupt', 'CONTROL_CORRUPT', 'a fetch message names no segment');
  return segmentFromTable(segment);
}

export interface PersistRequest {
  readonly checkpoint: number;
  readonly epoch: number;
  readonly tasks: readonly { readonly task: string; readonly attempt: number }[];
}

export function encodePersist(request: PersistRequest): Uint8Array {
  const tasks = request.tasks.map(({ task, attempt }) => new TaskAttemptT(task, attempt));
  return pack(new PersistT(BigInt(request.checkpoint), BigInt(request.epoch), tasks));
}

export function decodePersist(message: Uint8Array): PersistRequest {
  const table = unpack('persist', message, (buffer) => Persist.getRootAsPersist(buffer).unpack());
  const tasks = table.tasks.map(({ task, attempt }) => ({ task: text(task), attempt }));
  return { checkpoint: Number(table.checkpoint), epoch: Number(table.epoch), tasks };
}

export function encodePersisted(segments: ReadonlyMap<string, SegmentRef>): Uint8Array {
  return pack(new PersistedT([...segments].map(([task, ref]) => new TaskSegmentT(task, segmentToTable(ref)))));
}

export function decodePersisted(message: Uint8Array): Map<string, SegmentRef> {
  const table = unpack('persisted', message, (buffer) => Persisted.getRootAsPersisted(buffer).unpack());
  return new Map(
    table.tasks.flatMap(({ task, segment }) => (segment === null ? [] : [[text(task), segmentFromTable(segment)]])),
  );
}

export interface CompactRequest {
  readonly checkpoint: number;
  readonly epoch: number;
  readonly plan: CompactionPlan;
}

export function encodeCompact({ checkpoint, epoch, plan }: CompactRequest): Uint8Array {
  const { first, last } = plan.range;
  return pack(
    new CompactT(
      BigInt(checkpoint),
      BigInt(epoch),
      plan.inputs.map(segmentToTable),
      first,
      last,
      plan.full,
      [...plan.boundaries],
      BigInt(Math.ceil(plan.bytesTarget)),
    ),
  );
}

export function decodeCompact(message: Uint8Array): CompactRequest {
  const table = unpack('compact', message, (buffer) => Compact.getRootAsCompact(buffer).unpack());
  const { first, last, full, boundaries } = table;
  const inputs = table.inputs.map(segmentFromTable);
  const plan = { inputs, range: { first, last }, full, boundaries, bytesTarget: Number(table.bytesTarget) };
  return { checkpoint: Number(table.checkpoint), epoch: Number(table.epoch), plan };
}

export function encodeCompacted(outputs: readonly SegmentRef[]): Uint8Array {
  return pack(new CompactedT(outputs.map(segmentToTable)));
}

export function decodeCompacted(message: Uint8Array): SegmentRef[] {
  return unpack('compacted', message, (buffer) => Compacted.getRootAsCompacted(buffer).unpack()).outputs.map(
    segmentFromTable,
  );
}

export interface ForgetRequest {
  readonly checkpoint: number;
  readonly epoch: number;
  readonly completed: boolean;
}

export function encodeForget(request: ForgetRequest): Uint8Array {
  return pack(new ForgetT(BigInt(request.checkpoint), BigInt(request.epoch), request.completed));
}

export function decodeForget(message: Uint8Array): ForgetRequest {
  const table = unpack('forget', message, (buffer) => Forget.getRootAsForget(buffer).unpack());
  return { checkpoint: Number(table.checkpoint), epoch: Number(table.epoch), completed: table.completed };
}
