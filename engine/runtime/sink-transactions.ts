import type { Batch } from '../../base/columnar/index.js';
import type { SinkWriter } from '../connectors/index.js';
import type { SinkTransaction } from './deployment.js';

/**
 * The transactions of one sink attempt between pre-commit and commit. Pre-commits and commits run one after another, so
 * a snapshot that lists the open transactions lists all that earlier barriers closed.
 */
export class SinkTransactions {
  readonly #writer: SinkWriter;
  #open: SinkTransaction[];
  #chain: Promise<unknown> = Promise.resolve();

  constructor(writer: SinkWriter, recovered: readonly SinkTransaction[]) {
    this.#writer = writer;
    // Committed again by the writer when it was opened; listed until the next complete checkpoint says it again.
    this.#open = [...recovered];
  }

  write(batch: Batch): void {
    this.#writer.write(batch);
  }

  get pending(): Promise<void> | undefined {
    return this.#writer.pending;
  }

  /** Closes the current transaction at a barrier. Resolves with all open ones, this one included, when it is durable. */
  preCommit(checkpoint: number): Promise<readonly SinkTransaction[]> {
    // Called at once: what is written after the barrier belongs to the next transaction.
    const prepared = this.#writer.preCommit(checkpoint);
    prepared.catch(() => undefined); // reported by the chained await below, which may begin later
    return this.#inOrder(async () => {
      const transaction = await prepared;
      if (transaction !== undefined) this.#open.push({ checkpoint, transaction });
      return [...this.#open];
    });
  }

  /** The checkpoint is complete: commits what was closed by its barrier or an earlier one. */
  commit(checkpoint: number): Promise<void> {
    return this.#inOrder(async () => {
      for (const { transaction } of this.#open.filter((open) => open.checkpoint <= checkpoint))
        await this.#writer.commit(transaction);
      this.#open = this.#open.filter((open) => open.checkpoint > checkpoint);
    });
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#chain.then(work);
    this.#chain = result.catch(() => undefined);
    return result;
  }
}
