import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SteppingWriter } from '../segment/stepped-write.test.support.js';
import type { StateSegment, StateStore } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';

/** More than there are stamps. */
const many = 20_000;
const range = { first: 0, last: 3 };
const key = (name: string) => new Uint8Array(Buffer.from(name));

class Taken {
  readonly writer = new SteppingWriter();
  readonly store: StateStore = new MemoryStateStore(range, {
    writer: this.writer,
    chainLengthMax: Number.POSITIVE_INFINITY,
  });
  #id = 0;

  set(name: string, value: number): void {
    const lanes = this.store.laneTable('lanes', 1);
    const slot = lanes.upsert(1, 7, key(name), 0);
    lanes.values[slot] = value;
  }

  remove(name: string): void {
    const lanes = this.store.laneTable('lanes', 1);
    lanes.remove(lanes.find(1, 7, key(name), 0));
  }

  snapshot(): StateSegment {
    this.store.snapshot(++this.#id);
    const segment = this.writer.last.finish();
    this.writer.writes.length = 0;
    return segment;
  }

  completed(): StateSegment {
    const segment = this.snapshot();
    this.store.completed(this.#id);
    return segment;
  }

  aborted(): StateSegment {
    const segment = this.snapshot();
    this.store.aborted(this.#id);
    return segment;
  }
}

function restored(...chain: StateSegment[]): Record<string, number> {
  const store = new MemoryStateStore(range);
  store.restore(chain.map(({ bytes }) => bytes));
  const lanes = store.laneTable('lanes', 1);
  const values: Record<string, number> = {};
  lanes.scan(1000, (slot) => {
    values[Buffer.from(lanes.keyOf(slot)).toString()] = lanes.values[slot] as number;
  });
  return values;
}

describe(`${many} checkpoints`, () => {
  it('what rests is never written again, and leaves a tombstone when it goes', () => {
    const taken = new Taken();
    for (const name of ['rests', 'goes', 'changes']) taken.set(name, 1);
    equal(taken.completed().entries, 3);
    for (let i = 0; i < many; i++) {
      taken.set('changes', i);
      equal(taken.completed().entries, 1, `checkpoint ${i}`);
    }
    taken.remove('goes');
    equal(taken.completed().entries, 1);
    equal(taken.completed().entries, 0);
  });

  it('what was changed before all others were aborted is in the one that completes', () => {
    const taken = new Taken();
    taken.set('rests', 1);
    taken.set('goes', 1);
    const first = taken.completed();
    taken.set('early', 2);
    taken.remove('goes');
    for (let i = 0; i < many; i++) {
      taken.set('changes', i);
      if (i % 500 === 0) deepEqual(restored(first, taken.snapshot()), { rests: 1, early: 2, changes: i });
      else taken.aborted();
    }
    const last = taken.completed();
    deepEqual(restored(first, last), { rests: 1, early: 2, changes: many - 1 });
    taken.set('late', 3);
    deepEqual(restored(first, last, taken.completed()), { rests: 1, early: 2, changes: many - 1, late: 3 });
    for (let i = 0; i < 3000; i++) taken.completed();
    equal(taken.completed().entries, 0, 'and then it is saved');
  });
});
