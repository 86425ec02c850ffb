import { type Cells, noSub } from './cells.js';
import type { CurrentKey } from './current-key.js';

/** One value per key. */
export class ValueState<T> {
  readonly #cells: Cells<T>;
  readonly #current: CurrentKey;

  constructor(cells: Cells<T>, current: CurrentKey) {
    this.#cells = cells;
    this.#current = current;
  }

  /** The current key's value; a fresh object each time: changing it changes nothing until `set`. */
  get(): T | undefined {
    return this.#cells.get(this.#current, noSub);
  }

  set(value: T): void {
    this.#cells.put(this.#current, noSub, value);
  }

  clear(): void {
    this.#cells.remove(this.#current, noSub);
  }
}
