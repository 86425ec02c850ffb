import { Builder } from 'flatbuffers';
import { MillraceError } from '../base/index.js';
import { CheckedByteBuffer } from './checked-byte-buffer.js';
import { PartitionSpecT, WriterSpec, WriterSpecT } from './generated/millrace/shuffle.js';
import type { Compression, PartitionDescriptor, PartitionType, Retention, WriterDescriptor } from './spi.js';
import { EPOCH_MAX } from './tail-word.js';

/** The bytes in which a writer is described, in its task log and on the wire (`WriterSpec` of protocol.fbs). */
export function encodeWriterSpec(writer: WriterDescriptor): Uint8Array {
  const builder = new Builder(256);
  builder.finish(specOfWriter(writer).pack(builder));
  return builder.asUint8Array().slice();
}

export function specOfWriter(writer: WriterDescriptor): WriterSpecT {
  const partitions = writer.partitions.map(
    (p) =>
      new PartitionSpecT(
        p.partition,
        p.subpartitions,
        p.broadcast,
        p.consumers,
        PARTITION_TYPES.indexOf(p.type),
        RETENTIONS.indexOf(retentionOf(p)),
        COMPRESSIONS.indexOf(p.compression ?? 'none'),
        BigInt(p.maxLagBytes ?? 0),
      ),
  );
  return new WriterSpecT(writer.writer, writer.epoch, partitions, writer.job ?? null);
}

export function decodeWriterSpec(bytes: Uint8Array): WriterDescriptor {
  return writerOfSpec(WriterSpec.getRootAsWriterSpec(new CheckedByteBuffer(bytes)).unpack());
}

export function writerOfSpec(spec: WriterSpecT): WriterDescriptor {
  return {
    writer: String(spec.writer),
    epoch: spec.epoch,
    ...(spec.job === null ? {} : { job: String(spec.job) }),
    partitions: spec.partitions.map((p) => ({
      partition: String(p.partition),
      type: known(PARTITION_TYPES, p.type, 'partition type'),
      subpartitions: p.subpartitions,
      broadcast: p.broadcast,
      consumers: p.consumers,
      retain: known(RETENTIONS, p.retain, 'retention'),
      compression: known(COMPRESSIONS, p.compression, 'compression'),
      ...(p.maxLagBytes === 0n ? {} : { maxLagBytes: Number(p.maxLagBytes) }),
    })),
  };
}

/** By the tags of protocol.fbs. */
export const PARTITION_TYPES: readonly PartitionType[] = ['pipelined', 'blocking', 'hybrid'];
const RETENTIONS: readonly Retention[] = ['consumed', 'trimmed', 'released'];
const COMPRESSIONS: readonly Compression[] = ['none', 'lz4', 'zstd'];

export function retentionOf(partition: PartitionDescriptor): Retention {
  return partition.retain ?? (partition.type === 'pipelined' ? 'trimmed' : 'released');
}

/** Whether its data stay, in memory or on disk, without any consumer holding its writer back. */
export function isKept(partition: PartitionDescriptor): boolean {
  return partition.type !== 'pipelined';
}

/** The same writer with every default filled in: two that mean the same are equal. */
export function withDefaults(writer: WriterDescriptor): WriterDescriptor {
  return writerOfSpec(specOfWriter(writer));
}

function known<T>(names: readonly T[], tag: number, what: string): T {
  const name = names[tag];
  if (name !== undefined) return name;
  throw new MillraceError('invalid', 'WRITER_INVALID', `a writer has a ${what} of tag ${tag}, which is not known here`);
}

/** @throws `WRITER_INVALID` (invalid) naming what is wrong. */
export function checkWriter(writer: WriterDescriptor): void {
  const fail = (why: string): never => {
    throw new MillraceError('invalid', 'WRITER_INVALID', `writer "${writer.writer}": ${why}`, {
      context: { writer: writer.writer },
    });
  };
  const natural = (n: number, max: number) => Number.isInteger(n) && n >= 1 && n <= max;
  if (!natural(writer.epoch, EPOCH_MAX - 1)) fail(`epoch ${writer.epoch} is not between 1 and ${EPOCH_MAX - 1}`);
  if (writer.partitions.length > 65_535) fail('it has more than 65535 partitions');
  if (writer.writer === '') fail('its name is empty');
  const seen = new Set<string>();
  for (const p of writer.partitions) {
    if (p.partition === '') fail('a partition of it has an empty name');
    if (seen.has(p.partition)) fail(`partition "${p.partition}" is named twice`);
    seen.add(p.partition);
    if (!natural(p.subpartitions, 1 << 20)) fail(`partition "${p.partition}" has ${p.subpartitions} subpartitions`);
    if (!natural(p.consumers, 1 << 16)) fail(`partition "${p.partition}" has ${p.consumers} consumers`);
    if (!PARTITION_TYPES.includes(p.type)) fail(`partition "${p.partition}" has the unknown type "${p.type}"`);
    if (!RETENTIONS.includes(retentionOf(p))) fail(`partition "${p.partition}" is retained "${p.retain}"`);
    if (!COMPRESSIONS.includes(p.compression ?? 'none'))
      fail(`partition "${p.partition}" is compressed by "${p.compression}"`);
    if (p.maxLagBytes !== undefined && !natural(p.maxLagBytes, Number.MAX_SAFE_INTEGER))
      fail(`partition "${p.partition}" may lag ${p.maxLagBytes} bytes: it must be 1 or more`);
    if (p.broadcast && p.subpartitions !== 1) fail(`broadcast "${p.partition}" must have one subpartition`);
    if (!p.broadcast && p.consumers !== 1) fail(`partition "${p.partition}" must have one consumer a subpartition`);
  }
}
