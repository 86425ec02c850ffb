import { Builder, ByteBuffer, type IGeneratedObject } from 'flatbuffers';
import { MillraceError, xxh64 } from '../../base/index.js';
import type { SegmentRef } from '../../checkpoint/index.js';
import type { TaskCommand, TaskDeployment, TaskEvent, TaskPosition } from './deployment.js';
import { ChannelT } from './generated/millrace/control/channel.js';
import { Deploy, DeployT } from './generated/millrace/control/deploy.js';
import { PartitionT } from './generated/millrace/control/partition.js';
import { SegmentT } from './generated/millrace/control/segment.js';
import { TaskCommandT, TaskCommand as TaskCommandTable } from './generated/millrace/control/task-command.js';
import { TaskEventT, TaskEvent as TaskEventTable } from './generated/millrace/control/task-event.js';

/** Bytes before the table: its xxh64, little-endian. */
const CHECKSUM_BYTES = 8;

/** Packs one control.fbs table into bytes of its own: checksum, table. */
export function pack(table: IGeneratedObject): Uint8Array {
  const builder = new Builder(512);
  builder.finish(table.pack(builder));
  const packed = builder.asUint8Array();
  const bytes = new Uint8Array(CHECKSUM_BYTES + packed.length);
  new DataView(bytes.buffer).setBigUint64(0, xxh64(packed), true);
  bytes.set(packed, CHECKSUM_BYTES);
  return bytes;
}

/**
 * Reads one table; bytes that are no such table are `CONTROL_CORRUPT` (corrupt). Checked before it is read: FlatBuffers
 * itself takes missing bytes for zeros, and a damaged length for a reason to make that many objects.
 */
export function unpack<T>(what: string, bytes: Uint8Array, read: (buffer: ByteBuffer) => T): T {
  const table = bytes.subarray(CHECKSUM_BYTES);
  const whole = table.length > 0 && new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true) === xxh64(table);
  if (!whole)
    throw new MillraceError('corrupt', 'CONTROL_CORRUPT', `a ${what} message of ${bytes.length} bytes is damaged`);
  try {
    return read(new ByteBuffer(table));
  } catch (cause) {
    throw new MillraceError('corrupt', 'CONTROL_CORRUPT', `a ${what} message of ${bytes.length} bytes cannot be read`, {
      cause,
    });
  }
}

/** FlatBuffers strings are nullable; ours never are. */
export function text(value: string | Uint8Array | null): string {
  return typeof value === 'string' ? value : '';
}

function parsePosition(json: string): TaskPosition {
  try {
    return JSON.parse(json) as TaskPosition;
  } catch (cause) {
    throw new MillraceError('corrupt', 'CONTROL_CORRUPT', `a task's position of ${json.length} characters is no JSON`, {
      cause,
    });
  }
}

export function segmentToTable(ref: SegmentRef): SegmentT {
  return new SegmentT(
    ref.object,
    BigInt(ref.offset),
    BigInt(ref.length),
    BigInt(ref.indexBytes),
    ref.checksum,
    ref.full,
    ref.first,
    ref.last,
    ref.deltas,
    ref.inline ?? null,
  );
}

export function segmentFromTable(table: SegmentT): SegmentRef {
  const ref = {
    object: text(table.object),
    offset: Number(table.offset),
    length: Number(table.length),
    indexBytes: Number(table.indexBytes),
    checksum: text(table.checksum),
    full: table.full,
    first: table.first,
    last: table.last,
    deltas: table.deltas,
  };
  return table.inlineBytes === null ? ref : { ...ref, inline: text(table.inlineBytes) };
}

export function encodeDeployment(d: TaskDeployment): Uint8Array {
  const partitions = d.partitions.map((p) => new PartitionT(p.partition, p.subpartitions, p.broadcast, p.consumers));
  const channels = d.channels.map((c) => {
    const { partition, subpartition, consumer, from } = c.descriptor;
    const seq = BigInt(from.seq);
    return new ChannelT(c.edge, c.producer, partition, subpartition, consumer, seq, from.chain, c.watermark, c.ended);
  });
  const segments = d.restore?.segments.map(segmentToTable) ?? [];
  const position = d.restore === undefined ? '' : JSON.stringify(d.restore.position);
  const finished = d.restore?.finished ?? false;
  const min = BigInt(d.minCheckpoint);
  return pack(
    new DeployT(
      d.task,
      d.vertex,
      d.subtask,
      d.attempt,
      d.writer,
      d.epoch,
      partitions,
      channels,
      segments,
      position,
      finished,
      min,
    ),
  );
}

export function decodeDeployment(bytes: Uint8Array): TaskDeployment {
  const t = unpack('deploy', bytes, (buffer) => Deploy.getRootAsDeploy(buffer).unpack());
  const position = text(t.position);
  return {
    task: text(t.task),
    vertex: t.vertex,
    subtask: t.subtask,
    attempt: t.attempt,
    writer: text(t.writer),
    epoch: t.epoch,
    partitions: t.partitions.map((p) => ({
      partition: text(p.partition),
      type: 'pipelined',
      subpartitions: p.subpartitions,
      broadcast: p.broadcast,
      consumers: p.consumers,
    })),
    channels: t.channels.map((c) => ({
      edge: c.edge,
      producer: c.producer,
      descriptor: {
        partition: text(c.partition),
        subpartition: c.subpartition,
        consumer: c.consumer,
        from: { seq: Number(c.seq), chain: c.chain },
      },
      watermark: c.watermark,
      ended: c.ended,
    })),
    restore:
      position === ''
        ? undefined
        : {
            position: parsePosition(position),
            segments: t.segments.map(segmentFromTable),
            finished: t.finished,
          },
    minCheckpoint: Number(t.minCheckpoint),
  };
}

const EVENT_KINDS = ['running', 'acknowledged', 'finished', 'failed', 'done', 'declined'] as const;
const COMMAND_KINDS = ['trigger', 'aborted', 'completed', 'cancel'] as const;

export function encodeTaskEvent(event: TaskEvent): Uint8Array {
  const table = new TaskEventT(event.task, event.attempt, EVENT_KINDS.indexOf(event.kind));
  if (event.kind === 'acknowledged') {
    table.checkpoint = BigInt(event.checkpoint);
    table.held = event.held;
  }
  if (event.kind === 'declined') table.checkpoint = BigInt(event.checkpoint);
  if (event.kind === 'acknowledged' || event.kind === 'finished') table.position = JSON.stringify(event.position);
  if (event.kind === 'failed') table.error = event.error;
  return pack(table);
}

export function decodeTaskEvent(bytes: Uint8Array): TaskEvent {
  const t = unpack('task event', bytes, (buffer) => TaskEventTable.getRootAsTaskEvent(buffer).unpack());
  const base = { task: text(t.task), attempt: t.attempt };
  const position = () => parsePosition(text(t.position));
  const kind = EVENT_KINDS[t.kind];
  switch (kind) {
    case 'acknowledged':
      return { ...base, kind, checkpoint: Number(t.checkpoint), position: position(), held: t.held };
    case 'finished':
      return { ...base, kind, position: position() };
    case 'declined':
      return { ...base, kind, checkpoint: Number(t.checkpoint) };
    case 'failed':
      return { ...base, kind, error: text(t.error) };
    case 'running':
    case 'done':
      return { ...base, kind };
    default:
      throw new MillraceError('corrupt', 'CONTROL_CORRUPT', `unknown task event ${t.kind}`);
  }
}

export function encodeTaskCommand(command: TaskCommand): Uint8Array {
  const table = new TaskCommandT(command.task, command.attempt, COMMAND_KINDS.indexOf(command.kind));
  if (command.kind !== 'cancel') table.checkpoint = BigInt(command.checkpoint);
  if (command.kind === 'completed') table.finished = command.finished;
  return pack(table);
}

export function decodeTaskCommand(bytes: Uint8Array): TaskCommand {
  const t = unpack('task command', bytes, (buffer) => TaskCommandTable.getRootAsTaskCommand(buffer).unpack());
  const base = { task: text(t.task), attempt: t.attempt };
  const kind = COMMAND_KINDS[t.kind];
  switch (kind) {
    case 'trigger':
    case 'aborted':
      return { ...base, kind, checkpoint: Number(t.checkpoint) };
    case 'completed':
      return { ...base, kind, checkpoint: Number(t.checkpoint), finished: t.finished };
    case 'cancel':
      return { ...base, kind };
    default:
      throw new MillraceError('corrupt', 'CONTROL_CORRUPT', `unknown task command ${t.kind}`);
  }
}
