import type { Generations } from './generations.js';
import type { OperatorValue } from './spi.js';

/** OperatorValue in memory. */
export class MemoryOperatorValue implements OperatorValue {
  readonly kind = 'operator';
  readonly #generations: Generations;
  #value: Uint8Array | undefined;
  #stamp = 0;

  constructor(generations: Generations) {
    this.#generations = generations;
  }

  get(): Uint8Array | undefined {
    return this.#value?.slice();
  }

  set(value: Uint8Array): void {
    this.#value = value.slice();
    this.#stamp = this.#generations.current;
  }

  /** Changed since the newest completed snapshot. */
  get isDirty(): boolean {
    return this.#value !== undefined && this.#stamp > this.#generations.completed;
  }

  get byteLength(): number {
    return this.#value?.length ?? 0;
  }
}
