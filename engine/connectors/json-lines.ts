import { resolve } from 'node:path';
import type { Batch, Schema } from '../../base/columnar/index.js';
import { type Disk, MillraceError } from '../../base/index.js';
import { JsonLinesFormat } from './json-lines-format.js';
import {
  commitTransaction,
  decodeTransaction,
  encodeTransaction,
  finalName,
  holdsOutput,
  isPendingOf,
  newestOutput,
  PENDING_FOLDER,
  pendingName,
} from './json-lines-transaction.js';
import { PendingFile } from './pending-file.js';
import type { CheckEnvironment, Sink, SinkContext, SinkWriter } from './spi.js';

const QUEUED_BYTES_MAX = 4 * 1024 * 1024;
const ROWS_PER_CHUNK = 1024;

/**
 * Writes rows as canonical JSON, one a line, into `folder`, exactly once: the rows of one checkpoint and subtask appear
 * at once, as one file `part-<subtask>-<checkpoint>.jsonl`, when that checkpoint is complete. Files under other names
 * are not output. Timestamps are ISO strings in UTC; NaN and infinities are null.
 * The folder must be used by one job only.
 */
export function jsonLines(folder: string): Sink {
  const path = resolve(folder);
  return {
    name: `jsonLines(${folder})`,
    check: (environment) => checkFolder(path, environment),
    open: (context) => openWriter(path, context),
  };
}

async function checkFolder(folder: string, { disk, fresh, resumesFrom }: CheckEnvironment): Promise<void> {
  const found = await disk.stat(folder);
  if (fresh && found?.folder === true && (await holdsOutput(disk, folder))) {
    const message = `${folder} holds output of an earlier run; remove it, or write somewhere else`;
    throw new MillraceError('invalid', 'OUTPUT_EXISTS', message, { context: { path: folder } });
  }
  const newest = found?.folder === true ? await newestOutput(disk, folder) : 0;
  if (!fresh && resumesFrom !== undefined && newest > resumesFrom) {
    const message = `${folder} holds output of checkpoint ${newest}, and the job goes on from ${resumesFrom}: its rows would be there twice; remove the files part-<subtask>-<n>.jsonl with an n above ${resumesFrom}`;
    throw new MillraceError('invalid', 'OUTPUT_AHEAD', message, { context: { path: folder, newest, resumesFrom } });
  }
  if (found === undefined || found.folder) return disk.makeFolder(`${folder}/${PENDING_FOLDER}`);
  const message = `${folder} is a file; the output needs a folder`;
  throw new MillraceError('invalid', 'SINK_FOLDER', message, { context: { path: folder } });
}

/** Commits what the checkpoint holds, then forgets what earlier attempts of this subtask left behind. */
async function openWriter(folder: string, context: SinkContext): Promise<SinkWriter> {
  const { disk, subtask } = context;
  const pending = `${folder}/${PENDING_FOLDER}`;
  await disk.makeFolder(pending);
  for (const text of context.recovered) await commitTransaction(disk, folder, decodeTransaction(text));
  for (const name of await disk.list(pending)) {
    if (isPendingOf(subtask, name)) await disk.remove(`${pending}/${name}`);
  }
  return new JsonLinesWriter(folder, context);
}

/**
 * Rows become text at once, and text is appended in the background, strictly in order: each step waits for the one
 * before. A failed step fails all later ones, so no transaction can be prepared that lacks rows.
 */
class JsonLinesWriter implements SinkWriter {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #subtask: number;
  readonly #attempt: string;
  readonly #format: JsonLinesFormat;
  #current: PendingFile | undefined;
  #transactions = 0;
  #queuedBytes = 0;
  #lastStep: Promise<void> = Promise.resolve();
  #pending: Promise<void> | undefined;
  #failure: MillraceError | undefined;
  #closed = false;

  constructor(folder: string, context: SinkContext<Schema>) {
    this.#folder = folder;
    this.#disk = context.disk;
    this.#subtask = context.subtask;
    this.#attempt = context.attempt;
    this.#format = new JsonLinesFormat(context.schema);
  }

  get pending(): Promise<void> | undefined {
    return this.#pending;
  }

  write(batch: Batch): void {
    this.#assertUsable();
    if (batch.rows === 0) return;
    if (this.#current === undefined) {
      const name = pendingName(this.#subtask, this.#attempt, this.#transactions++);
      this.#current = new PendingFile(this.#disk, `${this.#folder}/${PENDING_FOLDER}`, name);
    }
    const file = this.#current;
    for (let from = 0; from < batch.rows; from += ROWS_PER_CHUNK) {
      const chunk = Buffer.from(this.#format.lines(batch, from, Math.min(from + ROWS_PER_CHUNK, batch.rows)));
      this.#queuedBytes += chunk.length;
      this.#step(async () => {
        await file.append(chunk);
        this.#queuedBytes -= chunk.length;
      });
    }
    if (this.#queuedBytes > QUEUED_BYTES_MAX) this.#pending ??= this.#drained();
  }

  async preCommit(checkpointId: number): Promise<string | undefined> {
    this.#assertUsable();
    const file = this.#current;
    this.#current = undefined;
    if (file === undefined) return undefined;
    const final = finalName(this.#subtask, checkpointId);
    try {
      await this.#step(() => file.seal());
    } catch (e) {
      await file.abandon();
      throw e;
    }
    return encodeTransaction({ pending: file.name, final, bytes: file.bytes, checksum: file.checksum() });
  }

  async commit(transaction: string): Promise<void> {
    await commitTransaction(this.#disk, this.#folder, decodeTransaction(transaction));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#lastStep.catch(() => {});
    await this.#current?.abandon();
  }

  /** Runs after all earlier steps, unless one of them failed. */
  #step(run: () => Promise<void>): Promise<void> {
    const step = this.#lastStep.then(run).catch((e: unknown) => {
      this.#failure ??= MillraceError.from(e);
      throw this.#failure;
    });
    // Whoever waits for a step sees its failure; one that nobody waits for shows at the next call.
    step.catch(() => {});
    this.#lastStep = step;
    return step;
  }

  #drained(): Promise<void> {
    const drained = this.#lastStep.finally(() => {
      this.#pending = undefined;
    });
    drained.catch(() => {});
    return drained;
  }

  #assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw new MillraceError('closed', 'SINK_CLOSED', `the sink of ${this.#folder} was closed`);
  }
}
