/** What a simulated shuffle carries: partitions whose every buffer is a function of (partition, subpartition, number). */
import { type Random, seededRandom, xxh64 } from '../base/index.js';
import {
  BUFFER_BARRIER,
  BUFFER_END,
  BUFFER_WATERMARK,
  type BufferKind,
  ChainHash,
  type Compression,
  type PartitionDescriptor,
  type PartitionType,
  type Retention,
} from '../shuffle/index.js';

/** Plain data, drawn from the seed. */
export interface PartitionPlan {
  readonly partition: string;
  readonly type: PartitionType;
  readonly retain: Retention;
  readonly compression: Compression;
  readonly broadcast: boolean;
  readonly subpartitions: number;
  readonly consumers: number;
  /** A round gives each subpartition some buffers, and then perhaps all of them an event. */
  readonly rounds: number;
  /** Largest data buffer. */
  readonly bytesMax: number;
}

export interface WriterPlan {
  readonly writer: string;
  readonly partitions: readonly PartitionPlan[];
  /** Its producer, and each of its consumers: over mapped memory, or over the wire. */
  readonly mapped: boolean;
  readonly consumersMapped: readonly boolean[];
  /** Between steps of the producer, on average. */
  readonly paceMs: number;
  readonly consumerPaceMs: number;
  readonly consumersStartMs: number;
  /** How often consumers read kept partitions again. */
  readonly readAgain: number;
}

/** One buffer as it must be. */
export interface PlannedBuffer {
  readonly kind: BufferKind;
  readonly rows: number;
  readonly bytes: Uint8Array;
  /** Of the rounds; the END is in the one after the last. */
  readonly round: number;
  /** Chain hash of everything before it. */
  readonly chain: bigint;
}

export function drawWriterPlan(random: Random, name: string, slotBytes: number): WriterPlan {
  const groups = 1 + random.below(3);
  const partitions = Array.from({ length: random.chance(0.3) ? 2 : 1 }, (_, i) =>
    drawPartition(random, `${name}/${i}`, groups, slotBytes),
  );
  return {
    writer: name,
    partitions,
    mapped: random.chance(0.6),
    consumersMapped: Array.from({ length: groups }, () => random.chance(0.6)),
    paceMs: random.chance(0.3) ? 0 : random.below(12),
    consumerPaceMs: random.chance(0.5) ? 0 : random.below(8),
    consumersStartMs: random.chance(0.5) ? random.below(20) : random.below(1200),
    readAgain: random.below(3),
  };
}

function drawPartition(random: Random, partition: string, groups: number, slotBytes: number): PartitionPlan {
  const type = pick(random, ['pipelined', 'blocking', 'hybrid'] as const);
  const broadcast = random.chance(0.3);
  const retains: readonly Retention[] =
    type === 'pipelined' ? ['trimmed', 'trimmed', 'consumed'] : ['released', 'released', 'trimmed'];
  return {
    partition,
    type,
    retain: pick(random, retains),
    compression: random.chance(0.35) ? 'lz4' : 'none',
    broadcast,
    subpartitions: broadcast ? 1 : 1 + random.below(4),
    consumers: broadcast ? groups : 1,
    rounds: random.chance(0.05) ? 0 : 3 + random.below(45),
    bytesMax: random.chance(0.2) ? Math.floor(slotBytes * 2.6) : pick(random, [1, 60, slotBytes / 2, slotBytes]),
  };
}

export function descriptorOf(plan: PartitionPlan): PartitionDescriptor {
  const { partition, type, retain, compression, broadcast, subpartitions, consumers } = plan;
  return { partition, type, retain, compression, broadcast, subpartitions, consumers };
}

/** All buffers of one subpartition, in order. */
export function plannedBuffers(plan: PartitionPlan, subpartition: number): PlannedBuffer[] {
  const buffers: PlannedBuffer[] = [];
  const hash = new ChainHash();
  let chain = 0n;
  const add = (kind: BufferKind, rows: number, bytes: Uint8Array, round: number) => {
    buffers.push({ kind, rows, bytes, round, chain });
    chain = hash.next(chain, xxh64(bytes));
  };
  const own = randomOf(`${plan.partition}[${subpartition}]`);
  const shared = randomOf(plan.partition);
  for (let round = 0; round < plan.rounds; round++) {
    const count = own.below(4);
    for (let i = 0; i < count; i++) {
      add(
        0,
        own.below(100),
        content(own, `${plan.partition}[${subpartition}]#${buffers.length} `, plan.bytesMax),
        round,
      );
    }
    // The same in every subpartition.
    const kind = shared.chance(0.2) ? BUFFER_BARRIER : shared.chance(0.3) ? BUFFER_WATERMARK : undefined;
    const payload = content(shared, `${plan.partition} event ${round} `, 80);
    if (kind !== undefined) add(kind, 0, payload, round);
  }
  add(BUFFER_END, 0, new Uint8Array(0), plan.rounds);
  return buffers;
}

/** Text that says where it belongs, so that it compresses, and then noise. */
function content(random: Random, text: string, bytesMax: number): Uint8Array {
  const most = random.chance(0.6) ? Math.min(bytesMax, 200) : bytesMax;
  const bytes = new Uint8Array(1 + random.below(most));
  const pattern = Buffer.from(text);
  const noisy = random.chance(0.5) ? bytes.length / 2 : 0;
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = i < noisy ? random.below(256) : (pattern[i % pattern.length] as number);
  return bytes;
}

function randomOf(name: string): Random {
  return seededRandom(Number(xxh64(Buffer.from(name)) & 0xffff_ffffn));
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)] as T;
}
