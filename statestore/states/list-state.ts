import { type Cells, noSub } from './cells.js';
import type { CurrentKey } from './current-key.js';

const SUB_BYTES = 6;
const HEAD_BYTES = 10;

/**
 * A list per key. Appending costs the same however long the list is, and writes the element alone. Each element has a life of
 * its own where the state has a TTL.
 *
 *     sub key of an element   its number, u48 BE
 *     value of sub key ''     number of the next element u48 BE | elements u32 BE: the head; there as long as an element is
 */
export class ListState<T> {
  readonly #cells: Cells<T>;
  readonly #current: CurrentKey;

  constructor(cells: Cells<T>, current: CurrentKey) {
    this.#cells = cells;
    this.#current = current;
  }

  /** The current key's elements in the order in which they were added; empty when there are none. */
  get(): T[] {
    const { keyGroup, hash, key } = this.#current;
    const at = { keyGroup, hash, key };
    const found: T[] = [];
    for (const [sub, cell] of this.#cells.table.entries(keyGroup, hash, key)) {
      if (sub.length === 0) continue;
      if (this.#cells.isExpired(cell)) this.removeElement(at, sub);
      else found.push(this.#cells.read(at, sub, cell));
    }
    return found;
  }

  add(...values: readonly T[]): void {
    const head = this.#head(this.#current);
    let next = head === undefined ? 0 : readU48(head);
    for (const value of values) this.#cells.put(this.#current, numbered(next++), value);
    if (values.length > 0) this.#setHead(this.#current, next, countOf(head) + values.length);
  }

  /** Replaces the whole list. */
  update(values: readonly T[]): void {
    this.clear();
    this.add(...values);
  }

  clear(): void {
    const { keyGroup, hash, key } = this.#current;
    for (const [sub] of this.#cells.table.entries(keyGroup, hash, key)) this.#cells.remove(this.#current, sub);
  }

  /** Takes out one element that is there. For sweeps. */
  removeElement(at: CurrentKey, sub: Uint8Array): void {
    this.#cells.remove(at, sub);
    const head = this.#head(at);
    if (head === undefined || countOf(head) <= 1) this.#cells.remove(at, noSub);
    else this.#setHead(at, readU48(head), countOf(head) - 1);
  }

  #head({ keyGroup, hash, key }: CurrentKey): Uint8Array | undefined {
    return this.#cells.table.get(keyGroup, hash, key, noSub);
  }

  #setHead({ keyGroup, hash, key }: CurrentKey, next: number, count: number): void {
    const head = new Uint8Array(HEAD_BYTES);
    head.set(numbered(next));
    new DataView(head.buffer).setUint32(SUB_BYTES, count);
    this.#cells.table.put(keyGroup, hash, key, noSub, head);
  }
}

function numbered(element: number): Uint8Array {
  const sub = new Uint8Array(SUB_BYTES);
  const view = new DataView(sub.buffer);
  view.setUint16(0, Math.floor(element / 2 ** 32));
  view.setUint32(2, element % 2 ** 32);
  return sub;
}

function readU48(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SUB_BYTES);
  return view.getUint16(0) * 2 ** 32 + view.getUint32(2);
}

function countOf(head: Uint8Array | undefined): number {
  return head === undefined ? 0 : new DataView(head.buffer, head.byteOffset, HEAD_BYTES).getUint32(SUB_BYTES);
}
