/**
 * `finished-N` in a spill folder: this writer's partitions are complete. JSON in one line, and its xxh64 in the next.
 * It is written to every folder that has regions of the writer, and holds how far each subpartition was stored, so that
 * what a lost or damaged disk takes away is known to be missing.
 */
import { checksumHex, xxh64 } from '../base/index.js';
import { damaged } from './region-file.js';

/** One subpartition's stored end when the writer finished. */
export interface FinishedRange {
  readonly partition: string;
  readonly subpartition: number;
  /** Seq after the last one stored. */
  readonly next: number;
  /** Chain hash before `next`. */
  readonly nextChain: bigint;
}

export interface FinishRecord {
  readonly writer: string;
  readonly bootId: string;
  /** What the owner of the store said about the writer. */
  readonly spec: Uint8Array;
  readonly ranges: readonly FinishedRange[];
}

interface Stored {
  readonly version: 1;
  readonly writer: string;
  readonly bootId: string;
  readonly spec: string;
  /** Partition, subpartition, next, chain before next as hex. */
  readonly ranges: readonly (readonly [string, number, number, string])[];
}

export function encodeFinishRecord(record: FinishRecord): Uint8Array {
  const stored: Stored = {
    version: 1,
    writer: record.writer,
    bootId: record.bootId,
    spec: Buffer.from(record.spec).toString('base64'),
    ranges: record.ranges.map((r) => [r.partition, r.subpartition, r.next, checksumHex(r.nextChain)]),
  };
  const line = Buffer.from(`${JSON.stringify(stored)}\n`);
  return Buffer.concat([line, Buffer.from(`${checksumHex(xxh64(line))}\n`)]);
}

/** @throws `REGION_DAMAGED` (corrupt) */
export function decodeFinishRecord(bytes: Uint8Array): FinishRecord {
  const lineBytes = bytes.length - 17;
  const line = bytes.subarray(0, Math.max(0, lineBytes));
  const checksum = Buffer.from(bytes.subarray(line.length)).toString('latin1');
  if (checksum !== `${checksumHex(xxh64(line))}\n`) throw damaged('it does not match its checksum');
  const stored = JSON.parse(Buffer.from(line).toString()) as Stored;
  return {
    writer: stored.writer,
    bootId: stored.bootId,
    spec: new Uint8Array(Buffer.from(stored.spec, 'base64')),
    ranges: stored.ranges.map(([partition, subpartition, next, chain]) => ({
      partition,
      subpartition,
      next,
      nextChain: BigInt(`0x${chain}`),
    })),
  };
}
