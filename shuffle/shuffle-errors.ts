import { MillraceError } from '../base/index.js';
import type { ChannelDescriptor } from './spi.js';

/** The errors of the contract in `spi.ts`, each naming what it is about. */

export function writerFenced(writer: string, epoch: number, by?: number): MillraceError {
  const reason = by === undefined ? 'a higher epoch sealed it' : `epoch ${by} sealed it`;
  return new MillraceError('fenced', 'WRITER_FENCED', `writer "${writer}" of epoch ${epoch} must stop: ${reason}`, {
    context: by === undefined ? { writer, epoch } : { writer, epoch, by },
  });
}

export function writerUnknown(writer: string, epoch: number): MillraceError {
  const message = `writer "${writer}" of epoch ${epoch} is not registered with this shuffle service`;
  return new MillraceError('invalid', 'WRITER_UNKNOWN', message, { context: { writer, epoch } });
}

export function partitionLost(partition: string, subpartition: number, seq: number, why: string): MillraceError {
  const message = `partition "${partition}" subpartition ${subpartition} cannot be read from seq ${seq}: ${why}`;
  return new MillraceError('unavailable', 'PARTITION_LOST', message, { context: { partition, subpartition, seq } });
}

export function bufferCorrupt(partition: string, subpartition: number, seq: number, why: string): MillraceError {
  const message = `partition "${partition}" subpartition ${subpartition} seq ${seq}: ${why}`;
  return new MillraceError('corrupt', 'BUFFER_CORRUPT', message, { context: { partition, subpartition, seq } });
}

export function bufferOutOfOrder(partition: string, subpartition: number, seq: number, why: string): MillraceError {
  const message = `partition "${partition}" subpartition ${subpartition} seq ${seq}: ${why}`;
  return new MillraceError('corrupt', 'BUFFER_OUT_OF_ORDER', message, { context: { partition, subpartition, seq } });
}

export function shuffleMemoryFull(where: string, bytes: number, wanted: number, hint: string): MillraceError {
  const message = `shuffle memory "${where}" of ${bytes} bytes has no room for a buffer of ${wanted} bytes: ${hint}`;
  return new MillraceError('unavailable', 'SHUFFLE_MEMORY_FULL', message, { context: { where, bytes, wanted } });
}

/** A later attachment took over this consumer's cursor: whoever holds the gate must stop (invariant 3). */
export function consumerFenced(partition: string, subpartition: number, consumer: number): MillraceError {
  const message = `consumer ${consumer} of partition "${partition}" subpartition ${subpartition} was replaced by a later attachment`;
  return new MillraceError('fenced', 'CONSUMER_FENCED', message, { context: { partition, subpartition, consumer } });
}

/** What came over a connection is not what the other end of this protocol sends. */
export function malformed(what: string): MillraceError {
  return new MillraceError('corrupt', 'SHUFFLE_PROTOCOL', `the other end of a shuffle connection sent ${what}`);
}

export function layoutUnknown(region: string, why: string): MillraceError {
  return new MillraceError('corrupt', 'SHUFFLE_LAYOUT', `shuffle region "${region}" is not readable: ${why}`, {
    context: { region },
  });
}

/** @throws `BUFFER_INVALID` (invalid): what is to be emitted are no bytes, or its rows no count. */
export function checkEmitted(partition: string, bytes: unknown, rows: number): void {
  if (bytes instanceof Uint8Array && Number.isInteger(rows) && rows >= 0 && rows < 2 ** 31) return;
  const what = bytes instanceof Uint8Array ? `${rows} rows` : `${bytes === null ? 'null' : typeof bytes}`;
  const message = `partition "${partition}": a buffer is a Uint8Array and a number of rows, not ${what}`;
  throw new MillraceError('invalid', 'BUFFER_INVALID', message, { context: { partition } });
}

/** @throws `BUFFER_INVALID` (invalid): a kind that no event has. */
export function checkEvent(partition: string, kind: number): void {
  if (Number.isInteger(kind) && kind >= 1 && kind <= 4) return;
  const message = `partition "${partition}": there is no event of kind ${kind}`;
  throw new MillraceError('invalid', 'BUFFER_INVALID', message, { context: { partition } });
}

/** @throws `CHANNEL_INVALID` (invalid): positions that are none. */
export function checkChannels(channels: readonly ChannelDescriptor[]): void {
  for (const { partition, subpartition, consumer, from } of channels) {
    const natural = [subpartition, consumer, from.seq].every((n) => Number.isSafeInteger(n) && n >= 0);
    if (natural && typeof from.chain === 'bigint') continue;
    const message = `partition "${partition}": subpartition ${subpartition}, consumer ${consumer}, seq ${from.seq} is no place to read from`;
    throw new MillraceError('invalid', 'CHANNEL_INVALID', message, { context: { partition } });
  }
}
