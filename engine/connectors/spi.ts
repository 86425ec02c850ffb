import type { Batch, Schema } from '../../base/columnar/index.js';
import type { Clock, Disk, Logger } from '../../base/index.js';

/**
 * Where rows come from. A source is plain configuration: it is made while the job is described, in every process, and
 * opened once per attempt of each of its subtasks.
 */
export interface Source<S extends Schema = Schema> {
  readonly name: string;
  readonly schema: S;
  /** How many subtasks it can use; the engine never starts more. */
  readonly parallelismMax?: number;
  /** Called once before a job starts, so that bad input is one clear error. @throws MillraceError (invalid) naming the file. */
  check?(environment: ConnectorEnvironment): Promise<void>;
  open(context: SourceContext): Promise<SourceReader>;
}

export interface CheckEnvironment extends ConnectorEnvironment {
  /** The job starts from its beginning: output that is there already would be mixed with its own. */
  readonly fresh: boolean;
  /** The job goes on from this checkpoint: there can be no output of a later one. Undefined where that is not so. */
  readonly resumesFrom?: number | undefined;
}

export interface ConnectorEnvironment {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface SourceContext extends ConnectorEnvironment {
  readonly subtask: number;
  readonly parallelism: number;
  /** What `position()` said at the checkpoint to resume from; undefined for a fresh start. */
  readonly position: string | undefined;
  /** Rows a batch should have. */
  readonly batchRows: number;
}

/** Reads one subtask's share. The same position gives the same batches again, byte for byte, in any attempt. */
export interface SourceReader {
  /** The next batch (canonical bytes, valid until the next call), or undefined at the end. Calls do not overlap. */
  next(): Promise<Uint8Array | undefined>;
  /** Where the next batch starts, as canonical JSON. */
  position(): string;
  close(): Promise<void>;
}

/** Where rows go, exactly once: two-phase commit tied to checkpoints. */
export interface Sink<S extends Schema = Schema> {
  readonly name: string;
  /** Called once before a job starts: that it can be written, and that no earlier job's output is in the way. */
  check?(environment: CheckEnvironment): Promise<void>;
  open(context: SinkContext<S>): Promise<SinkWriter>;
}

export interface SinkContext<S extends Schema = Schema> extends ConnectorEnvironment {
  readonly subtask: number;
  /** Unique among all attempts of this subtask; goes into the names of what is not committed yet. */
  readonly attempt: string;
  /** The schema of the rows to be written. */
  readonly schema: S;
  /** Transactions that stand in the checkpoint this attempt starts from. `open` commits them (again) and discards all others of this subtask. */
  readonly recovered: readonly string[];
}

export interface SinkWriter {
  /** Takes the rows; the batch is not valid afterwards. Must not block: it queues, and says so in `pending`. */
  write(batch: Batch): void;
  /** Set while so much is queued that the task should wait before it writes more. */
  readonly pending: Promise<void> | undefined;
  /**
   * Ends the current transaction, synchronously before its first await, and makes it durable. Resolves with its description (to be
   * stored in the checkpoint), or undefined when it holds no rows. Later writes belong to the next transaction.
   */
  preCommit(checkpointId: number): Promise<string | undefined>;
  /** The checkpoint is complete: makes the transaction visible. Idempotent; may be called by a later attempt or more than once. */
  commit(transaction: string): Promise<void>;
  /** Ends this attempt. What was not committed stays for the next attempt to decide. */
  close(): Promise<void>;
}
