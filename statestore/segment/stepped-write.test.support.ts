import { ok } from 'node:assert/strict';
import type { StateSegment } from '../spi.js';
import type { FrozenRecords } from '../tables/frozen-records.js';
import { type FrozenStates, writeStates } from './segment-write.js';
import { type StateWriter, writeAtOnce } from './state-writer.js';

/** All that a writer would read, copied at the barrier: what is written of it is what must be written. */
export function photograph(frozen: FrozenStates): FrozenStates {
  const recordsOf = (records: FrozenRecords): FrozenRecords => ({
    ...records,
    words: records.words.slice(),
    keys: records.keys.slice(),
    values: records.values?.slice(),
    lists: records.lists?.map((list) => ({ ...list, ids: list.ids.slice() })),
    log: new Int32Array(new SharedArrayBuffer(records.log.byteLength)),
  });
  return {
    ...frozen,
    states: frozen.states.map((state) => ({
      ...state,
      value: state.value?.slice(),
      records: state.records && recordsOf(state.records),
    })),
    finished: new Int32Array(new SharedArrayBuffer(4)),
  };
}

/** One segment being written, as far as the test lets it. */
export class SteppedWrite {
  readonly #steps: Generator<void, StateSegment>;
  readonly #expected: Uint8Array;
  #segment: StateSegment | undefined;

  constructor(frozen: FrozenStates) {
    this.#expected = writeAtOnce(photograph(frozen)).bytes;
    this.#steps = writeStates(frozen);
  }

  get finished(): boolean {
    return this.#segment !== undefined;
  }

  step(): void {
    if (this.#segment !== undefined) return;
    const step = this.#steps.next();
    if (step.done !== true) return;
    this.#segment = step.value;
    ok(Buffer.compare(step.value.bytes, this.#expected) === 0, 'a segment is not what was there at the barrier');
  }

  finish(): StateSegment {
    while (this.#segment === undefined) this.step();
    return this.#segment;
  }
}

/** A writer that works only when it is told to. */
export class SteppingWriter implements StateWriter {
  readonly writes: SteppedWrite[] = [];

  write(frozen: FrozenStates): Promise<StateSegment> {
    this.writes.push(new SteppedWrite(frozen));
    return new Promise(() => {});
  }

  /** The write of the snapshot that was just taken. */
  get last(): SteppedWrite {
    return this.writes.at(-1) as SteppedWrite;
  }

  /** One step of one of the unfinished writes; they need not end in the order in which they began. */
  step(which: number): void {
    const open = this.writes.filter((write) => !write.finished);
    open[which % Math.max(1, open.length)]?.step();
  }
}
