import assert from 'node:assert/strict';

interface Transaction {
  readonly task: string;
  readonly rows: readonly string[];
  state: 'prepared' | 'committed' | 'discarded';
}

/** Where the simulated sinks write: two-phase commit, told which transactions stand in HEAD. */
export class SimulatedSink {
  readonly #transactions = new Map<string, Transaction>();
  readonly #inHead = new Set<string>();

  preCommit(task: string, writer: string, checkpoint: number, rows: readonly string[]): string {
    const id = `${writer}/${checkpoint}`;
    assert.ok(!this.#transactions.has(id), `transaction ${id} is closed twice`);
    this.#transactions.set(id, { task, rows, state: 'prepared' });
    return id;
  }

  /** A checkpoint that lists these has been published. */
  published(ids: readonly string[]): void {
    for (const id of ids) this.#inHead.add(id);
  }

  commit(id: string): void {
    assert.ok(this.#inHead.has(id), `transaction ${id} is committed and in no complete checkpoint (invariant 7)`);
    const transaction = this.#transactions.get(id) as Transaction;
    assert.notEqual(transaction.state, 'discarded', `transaction ${id} was discarded and is in a complete checkpoint`);
    transaction.state = 'committed';
  }

  /** A new attempt: what its checkpoint lists is committed, all else of its subtask is thrown away. */
  recover(task: string, recovered: readonly string[]): void {
    for (const id of recovered) this.commit(id);
    for (const transaction of this.#transactions.values()) {
      if (transaction.task === task && transaction.state === 'prepared') transaction.state = 'discarded';
    }
  }

  /** How often each row was committed by the sinks of each vertex: `v2 v0.1#3` -> 1. */
  committed(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { task, rows, state } of this.#transactions.values()) {
      if (state !== 'committed') continue;
      const vertex = task.slice(0, task.indexOf('.'));
      for (const row of rows) counts.set(`${vertex} ${row}`, (counts.get(`${vertex} ${row}`) ?? 0) + 1);
    }
    return counts;
  }
}
