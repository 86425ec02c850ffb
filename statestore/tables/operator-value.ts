import { assert } from '../../base/index.js';
import type { OperatorValue } from '../spi.js';
import type { Generations } from './generations.js';

const removed = new Uint8Array(0);

/** OperatorValue in memory. */
export class MemoryOperatorValue implements OperatorValue {
  readonly kind = 'operator';
  readonly #generations: Generations;
  #value: Uint8Array | undefined;
  #changed = 0;

  constructor(generations: Generations) {
    this.#generations = generations;
  }

  get(): Uint8Array | undefined {
    return this.#value?.slice();
  }

  set(value: Uint8Array): void {
    assert(value.length > 0, 'an operator value is empty');
    this.#value = value.slice();
    this.#changed = this.#generations.current;
  }

  remove(): void {
    if (this.#value === undefined) return;
    this.#value = undefined;
    this.#changed = this.#generations.current;
  }

  /** Applies what a segment says: no bytes mean that it was removed. */
  restore(value: Uint8Array): void {
    this.#value = value.length === 0 ? undefined : value.slice();
  }

  /** Set or removed since the newest completed snapshot. */
  get isDirty(): boolean {
    return this.#changed > this.#generations.completed;
  }

  get isSet(): boolean {
    return this.#value !== undefined;
  }

  /** What a snapshot says of it, if anything. The bytes are never changed, only replaced: there is nothing to copy. */
  freeze(full: boolean): Uint8Array | undefined {
    return full || this.isDirty ? (this.#value ?? removed) : undefined;
  }

  get byteLength(): number {
    return this.#value?.length ?? 0;
  }
}
