import { type Cells, noSub } from './cells.js';
import type { CurrentKey } from './current-key.js';

/** What a user's function makes of what is kept and what comes in. */
export interface Folding<A, In, Out> {
  readonly start: (input: In) => A;
  readonly add: (kept: A, input: In) => A;
  readonly result: (kept: A) => Out;
}

/** Everything added to a key, folded into one value at once: reducing state (Out and In are one type) and aggregating state. */
export class FoldingState<A, In, Out> {
  readonly #cells: Cells<A>;
  readonly #current: CurrentKey;
  readonly #folding: Folding<A, In, Out>;

  constructor(cells: Cells<A>, current: CurrentKey, folding: Folding<A, In, Out>) {
    this.#cells = cells;
    this.#current = current;
    this.#folding = folding;
  }

  add(input: In): void {
    const kept = this.#cells.get(this.#current, noSub);
    const { start, add } = this.#folding;
    this.#cells.put(this.#current, noSub, kept === undefined ? start(input) : add(kept, input));
  }

  /** Undefined when nothing was added. */
  get(): Out | undefined {
    const kept = this.#cells.get(this.#current, noSub);
    return kept === undefined ? undefined : this.#folding.result(kept);
  }

  clear(): void {
    this.#cells.remove(this.#current, noSub);
  }
}
