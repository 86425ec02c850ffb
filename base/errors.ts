/** What a caller can do about an error. A new kind exists only where a caller would act differently. */
export type ErrorKind =
  /** The caller's input is wrong (a flag, a file, a schema, an argument). Retrying changes nothing. */
  | 'invalid'
  /** Something outside is not there right now (peer, disk, store, memory). Retrying may help. */
  | 'unavailable'
  /** A higher epoch exists; this writer, task or leader must stop. */
  | 'fenced'
  /** The thing was closed by its owner. */
  | 'closed'
  /** Stored or received bytes are not what was written. */
  | 'corrupt'
  /** A bug in Millrace. */
  | 'internal';

export interface ErrorDetails {
  readonly cause?: unknown;
  /** Plain data that names the thing: path, partition, seq, epoch. Goes into logs and across processes. */
  readonly context?: Readonly<Record<string, string | number | boolean>>;
}

/**
 * The one error class of Millrace. `code` is stable (`PARTITION_LOST`, `STATE_DIR_IN_USE`), `message` is one line that
 * names the thing and, where there is one, what to do next.
 */
export class MillraceError extends Error {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly context: Readonly<Record<string, string | number | boolean>>;

  constructor(kind: ErrorKind, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'MillraceError';
    this.kind = kind;
    this.code = code;
    this.context = details.context ?? {};
  }

  /** Plain data that survives a process boundary; `fromJSON` restores it. */
  toJSON(): SerializedError {
    return { kind: this.kind, code: this.code, message: this.message, context: this.context, stack: this.stack ?? '' };
  }

  static fromJSON(e: SerializedError): MillraceError {
    const error = new MillraceError(e.kind, e.code, e.message, { context: e.context });
    error.stack = e.stack;
    return error;
  }

  /** Wraps whatever was thrown; a MillraceError passes through unchanged. */
  static from(thrown: unknown, code = 'UNEXPECTED', kind: ErrorKind = 'internal'): MillraceError {
    if (thrown instanceof MillraceError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    const error = new MillraceError(kind, code, message, { cause: thrown });
    if (thrown instanceof Error && thrown.stack !== undefined) error.stack = thrown.stack;
    return error;
  }
}

export interface SerializedError {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly message: string;
  readonly context: Readonly<Record<string, string | number | boolean>>;
  readonly stack: string;
}

/** For bugs only: the task that trips over it dies and is recovered. Never for bad input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new MillraceError('internal', 'ASSERTION', `assertion failed: ${message}`);
}
