import { Builder, ByteBuffer } from 'flatbuffers';
import { MillraceError } from '../base/index.js';
import { PartitionSpecT, WriterSpec, WriterSpecT } from './generated/millrace/shuffle.js';
import type { WriterDescriptor } from './spi.js';
import { EPOCH_MAX } from './tail-word.js';

/** The bytes in which a writer is described, in its task log and on the wire (`WriterSpec` of protocol.fbs). */
export function encodeWriterSpec(writer: WriterDescriptor): Uint8Array {
  const builder = new Builder(256);
  builder.finish(specOfWriter(writer).pack(builder));
  return builder.asUint8Array().slice();
}

export function specOfWriter(writer: WriterDescriptor): WriterSpecT {
  const partitions = writer.partitions.map(
    (p) => new PartitionSpecT(p.partition, p.subpartitions, p.broadcast, p.consumers),
  );
  return new WriterSpecT(writer.writer, writer.epoch, partitions);
}

export function decodeWriterSpec(bytes: Uint8Array): WriterDescriptor {
  return writerOfSpec(WriterSpec.getRootAsWriterSpec(new ByteBuffer(bytes)).unpack());
}

export function writerOfSpec(spec: WriterSpecT): WriterDescriptor {
  return {
    writer: String(spec.writer),
    epoch: spec.epoch,
    partitions: spec.partitions.map((p) => ({
      partition: String(p.partition),
      type: 'pipelined',
      subpartitions: p.subpartitions,
      broadcast: p.broadcast,
      consumers: p.consumers,
    })),
  };
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
  const seen = new Set<string>();
  for (const p of writer.partitions) {
    if (seen.has(p.partition)) fail(`partition "${p.partition}" is named twice`);
    seen.add(p.partition);
    if (!natural(p.subpartitions, 1 << 20)) fail(`partition "${p.partition}" has ${p.subpartitions} subpartitions`);
    if (!natural(p.consumers, 1 << 16)) fail(`partition "${p.partition}" has ${p.consumers} consumers`);
    if (p.broadcast && p.subpartitions !== 1) fail(`broadcast "${p.partition}" must have one subpartition`);
    if (!p.broadcast && p.consumers !== 1) fail(`partition "${p.partition}" must have one consumer a subpartition`);
  }
}
