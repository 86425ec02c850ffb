/**
 * The shuffle SPI: what the engine, or any other program, needs from a shuffle service. Interfaces only.
 *
 * Vocabulary. A *writer* is one execution of one task; it owns ONE task log and any number of *partitions*; a partition
 * has *subpartitions* (exactly one when it is a broadcast), each an immutable, gapless sequence of *buffers* numbered
 * from 0. A buffer is data or an event; events are numbered like data. A *step* stages buffers and ends in one
 * `publish`, which makes all of them visible together with their determinants, or none.
 *
 * Threading: every object here belongs to the thread that made it. Nothing blocks; what can wait returns a promise.
 *
 * Ownership: bytes given to a writer are copied before the call returns and stay the caller's. Bytes of an `InputBuffer`
 * are the service's, not to be written to, and valid until its `release`; a gate's `close` ends all of them.
 *
 * Errors are `MillraceError`s, mostly with one of these codes; each names writer or partition, subpartition and seq.
 *
 *     WRITER_INVALID, WRITER_CHANGED,      invalid      a description that makes no sense, or is not that of its lineage
 *     PARTITION_TAKEN, WRITER_UNKNOWN,                  a name in use; an epoch that was not registered, or opened before
 *     WRITER_TAKEN, COMPRESSION_UNAVAILABLE
 *     BUFFER_INVALID, CHANNEL_INVALID,     invalid      what is no bytes, no count, no event, no place to read from
 *     SUBPARTITION_UNKNOWN
 *     WRITER_FENCED, CONSUMER_FENCED       fenced       a later attempt took over: stop
 *     WRITER_CLOSED, GATE_CLOSED           closed       used after `close`
 *     PARTITION_LOST                       unavailable  what is asked for is nowhere, or not registered yet
 *     MEMORY_FULL, SHUFFLE_MEMORY_FULL     unavailable  no room for a log; for a buffer beyond what `available` promised
 *     SPILL_UNAVAILABLE, SPILL_FULL        unavailable  in the service's log: kept data stays in memory then
 *     SHUFFLE_GONE, PEER_GONE              unavailable  the connection to the service ended: connect and open again
 *     BUFFER_CORRUPT, BUFFER_OUT_OF_ORDER  corrupt      damaged, or not what follows; the gate stays broken
 *     SHUFFLE_PROTOCOL                     corrupt      a message made no sense; its connection is closed
 *     RELEASED_TWICE                       internal     a buffer was released twice
 */

/** Wire tags of a buffer. Never renumbered. */
export const BUFFER_DATA = 0;
export const BUFFER_BARRIER = 1;
export const BUFFER_WATERMARK = 2;
export const BUFFER_IDLE = 3;
export const BUFFER_END = 4;
export type BufferKind = 0 | 1 | 2 | 3 | 4;

/**
 * When a partition can be read and who it waits for.
 * - `pipelined`: read while it is written; a consumer that lags holds its writer back.
 * - `hybrid`: read while it is written, and kept: consumers never hold the writer back, whoever lags reads from disk.
 * - `blocking`: as hybrid, but readable only once it is finished (END in every subpartition).
 */
export type PartitionType = 'pipelined' | 'blocking' | 'hybrid';

/**
 * How long a buffer is kept.
 * - `consumed`: until every consumer released it. No replay.
 * - `trimmed`: until it is consumed and its owner trimmed past it, as after a checkpoint.
 * - `released`: until the writer is released.
 */
export type Retention = 'consumed' | 'trimmed' | 'released';

/** `zstd` only where this Node has it. */
export type Compression = 'none' | 'lz4' | 'zstd';

export interface PartitionDescriptor {
  /** Globally unique; a new lineage of a producer uses new ids. */
  readonly partition: string;
  readonly type: PartitionType;
  /** 1 for a broadcast. */
  readonly subpartitions: number;
  /** One log read by any number of consumers, each with a cursor of its own. */
  readonly broadcast: boolean;
  /** How many consumers a broadcast (or each subpartition: always 1) will have; cursors are laid out for them. */
  readonly consumers: number;
  /** `trimmed` for a pipelined partition, `released` for the others, unless said otherwise. */
  readonly retain?: Retention;
  /** Of each buffer on its own, where that makes it smaller; checksums are of the uncompressed bytes. `none` by default. */
  readonly compression?: Compression;
  /** Unconsumed bytes of one subpartition at which its writer has to wait; the service's own limit by default. */
  readonly maxLagBytes?: number;
}

export interface WriterDescriptor {
  /** Stable across attempts of a lineage. */
  readonly writer: string;
  /** Grows with every attempt and every leader; all a writer does carries it. */
  readonly epoch: number;
  readonly partitions: readonly PartitionDescriptor[];
  /** Whose it is: `releaseJob` releases all writers of one job. */
  readonly job?: string;
}

/** Position in one subpartition: the next sequence number and the chain hash of everything before it. */
export interface SubpartitionPosition {
  readonly seq: number;
  /** xxh64 chain: chain(n+1) = xxh64(chain(n), checksum(n)); 0 at seq 0. */
  readonly chain: bigint;
}

/** Control of partitions, for the scheduler: one per connection to a shuffle service. */
export interface ShuffleMaster {
  /** Lays out the task log and its partitions. @throws `WRITER_FENCED` (fenced) when a higher epoch is known; `MEMORY_FULL`. */
  register(writer: WriterDescriptor): Promise<void>;
  /**
   * Fences every epoch below `epoch`: afterwards no buffer of a lower epoch becomes visible (invariant 3).
   * Resolves with the tail: the number of published steps.
   */
  seal(writer: string, epoch: number): Promise<{ readonly tail: number }>;
  /** Everything below `seqs[subpartition]` may go, once consumed. Called only after the covering checkpoint completed (invariant 8). */
  trim(partition: string, seqs: readonly number[]): Promise<void>;
  /** Forgets the writer and all its partitions and gives their memory back. Implies seal. A missing one is not an error. */
  release(writer: string): Promise<void>;
  /** Releases every writer of a job, whatever its state. */
  releaseJob(job: string): Promise<void>;
  /** What exists, for reconciliation after a scheduler's death, and for metrics. */
  list(): Promise<readonly WriterStatus[]>;
  /** Told once per lost partition (not only to the reader who trips over it), and once when local retention degrades. */
  onEvent(handler: (event: ShuffleEvent) => void): void;
  close(): Promise<void>;
}

export interface WriterStatus {
  readonly writer: string;
  readonly epoch: number;
  readonly sealed: boolean;
  readonly tail: number;
  readonly job: string | undefined;
  readonly partitions: readonly {
    readonly partition: string;
    readonly type: PartitionType;
    /** Every subpartition has its END. */
    readonly finished: boolean;
    /** Per subpartition: first retained (in memory or on disk), first not yet written. */
    readonly firstSeqs: readonly number[];
    readonly nextSeqs: readonly number[];
    /** In memory, as stored. */
    readonly retainedBytes: number;
  }[];
}

export type ShuffleEvent =
  | { readonly kind: 'lost'; readonly partition: string; readonly reason: string }
  | { readonly kind: 'pressure'; readonly writer: string; readonly retainedBytes: number }
  | { readonly kind: 'degraded'; readonly partition: string; readonly firstSeq: number }
  /** Nobody wanted it any more (`ShuffleSettings.idle...`), or its job was released; its writer is gone. */
  | { readonly kind: 'expired'; readonly writer: string; readonly reason: string }
  /** A disk for spilled data failed or hung; it is not used any more. */
  | { readonly kind: 'diskSetAside'; readonly folder: string; readonly reason: string };

/** Makes writers and gates inside a worker thread. */
export interface ShuffleEnvironment {
  /** Attaches as the writer of this epoch. @throws `WRITER_FENCED`, `WRITER_UNKNOWN` (invalid). */
  openWriter(writer: WriterDescriptor): Promise<TaskWriter>;
  /** Attaches to every channel at the given position. @throws `PARTITION_LOST` (unavailable) naming the partition and seq. */
  openGate(channels: readonly ChannelDescriptor[]): Promise<InputGate>;
  /** Detaches everything that was opened here. */
  close(): Promise<void>;
}

export interface ChannelDescriptor {
  readonly partition: string;
  readonly subpartition: number;
  /** Which of the partition's consumers this is (0 unless it is a broadcast). */
  readonly consumer: number;
  /** Where to begin; `{seq: 0, chain: 0n}` for a fresh start. */
  readonly from: SubpartitionPosition;
}

/** The one task log of one attempt, and its partitions. */
export interface TaskWriter {
  readonly partitions: readonly ResultPartitionWriter[];
  /** Steps published so far. */
  readonly position: number;
  /**
   * Ends a step: everything staged since the last call becomes visible together with `determinants` (invariant 1).
   * A step that staged nothing and has no determinants is not logged. Returns the new position.
   * @throws `WRITER_FENCED` (fenced): nothing staged became visible; the attempt must stop.
   */
  publish(determinants: Uint8Array): number;
  /** True when every partition can take another step. */
  readonly available: boolean;
  /** Resolves when `available` may have become true, or after `timeoutMs`. */
  whenAvailable(timeoutMs: number): Promise<void>;
  /**
   * Resolves when every step published so far is visible to readers and outlives this process. Where the service is far
   * away `publish` promises neither, and what is beyond a consumer's lag waits there for room. @throws `WRITER_FENCED`, or what else kept a step from being stored.
   */
  stored(): Promise<void>;
  close(): Promise<void>;
}

export interface ResultPartitionWriter {
  readonly descriptor: PartitionDescriptor;
  /**
   * Stages one data buffer (of `rows` rows) for a subpartition; a broadcast partition has only subpartition 0. The bytes are copied before it returns.
   * A step may stage more than `available` promised: availability is soft, memory is not.
   * @throws `SHUFFLE_MEMORY_FULL` (unavailable), naming the folder and its size; over a wire, by a later call. `BUFFER_INVALID`.
   */
  emit(subpartition: number, bytes: Uint8Array, rows: number): void;
  /** Stages one event in every subpartition (or in the one log of a broadcast). */
  event(kind: Exclude<BufferKind, 0>, payload: Uint8Array): void;
  /** Position after everything staged or published so far, per subpartition. */
  positions(): readonly SubpartitionPosition[];
}

export interface InputBuffer {
  /** Index into the channels the gate was opened with. */
  readonly channel: number;
  readonly seq: number;
  readonly kind: BufferKind;
  readonly rows: number;
  /** Checksum verified. Valid until `release`; must not be written to. */
  readonly bytes: Uint8Array;
  /** Gives the buffer back: it counts as consumed, its credit returns. Exactly once, in any order. */
  release(): void;
}

export interface InputGate {
  readonly channels: readonly ChannelDescriptor[];
  /**
   * The next visible buffer of any channel that is not paused, fair between channels, or undefined when there is none.
   * @throws `BUFFER_CORRUPT` (corrupt), `BUFFER_OUT_OF_ORDER` (corrupt), `PARTITION_LOST` (unavailable), each naming partition, subpartition and seq.
   */
  poll(): InputBuffer | undefined;
  /** Resolves when `poll` may return something, or after `timeoutMs`. */
  whenAvailable(timeoutMs: number): Promise<void>;
  pause(channel: number): void;
  resume(channel: number): void;
  /** Position after everything polled so far, per channel. */
  positions(): readonly SubpartitionPosition[];
  close(): Promise<void>;
}
