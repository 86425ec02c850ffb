/** The ids that changed in one generation, each once; more than a list is good for: `all` of the table's. */
export interface ChangeList {
  readonly generation: number;
  readonly all: boolean;
  readonly count: number;
  readonly ids: Int32Array;
}

const idsMin = 256;
const listsMax = 64;
const none: Int32Array = new Int32Array(0);

/**
 * Which ids changed, by generation. Closing a generation's list takes no time: it is handed on as it is, and a new one
 * begun. A list that would name more than a quarter of the ids is dropped: looking at all of them is then as good.
 */
export class ChangeLists {
  #ids: Int32Array = none;
  #count = 0;
  #all = false;
  #closed: ChangeList[] = [];
  /** Memory of lists that nobody reads any more. The garbage collector does not see how much shared memory is waiting for it. */
  #spare: Int32Array[] = [];

  /** At most so many entries are named, in all generations. */
  get count(): number {
    return this.#closed.reduce((sum, list) => sum + list.count, this.#count);
  }

  get byteLength(): number {
    const lists = [this.#ids, ...this.#closed.map(({ ids }) => ids), ...this.#spare];
    return lists.reduce((sum, ids) => sum + ids.byteLength, 0);
  }

  /** Adds one to the generation that is open; `limit`: ids are below it. */
  add(id: number, limit: number): void {
    const count = this.#count++;
    if (this.#all) return;
    if (count === this.#ids.length && !this.#grow(limit)) return;
    this.#ids[count] = id;
  }

  /** The open generation may have changed any. */
  addAll(): void {
    this.#all = true;
  }

  close(generation: number, limit: number): void {
    if (this.#count > 0 || this.#all) {
      this.#closed.push({ generation, all: this.#all, count: this.#count, ids: this.#ids });
    }
    if (this.#closed.length > 1) this.#limitLists(limit);
    this.#ids = this.#spare.pop() ?? none;
    this.#count = 0;
    this.#all = false;
  }

  /** Closed lists of later generations. */
  since(generation: number): readonly ChangeList[] {
    return this.#closed.filter((list) => list.generation > generation);
  }

  /** `reusable`: nobody reads lists any more. */
  forget(generation: number, reusable: boolean): void {
    const old = this.#closed.filter((list) => list.generation <= generation);
    if (old.length === 0) return;
    this.#closed = this.#closed.filter((list) => list.generation > generation);
    // One is filled while another is written; more would only wait.
    if (reusable)
      this.#spare = [...this.#spare, ...old.map(({ ids }) => ids)].filter((ids) => ids.length > 0).slice(0, 2);
  }

  /** When snapshot after snapshot fails, lists would become more and more. */
  #limitLists(limit: number): void {
    const ids = this.#closed.reduce((sum, list) => sum + list.ids.length, 0);
    if (this.#closed.length <= listsMax && ids * 4 <= limit + idsMin * 16) return;
    const generation = this.#closed.at(-1)?.generation as number;
    const count = this.#closed.reduce((sum, list) => sum + list.count, 0);
    this.#closed = [{ generation, all: true, count, ids: none }];
  }

  /** @returns false when the list is given up. */
  #grow(limit: number): boolean {
    const length = this.#ids.length;
    if (length >= idsMin && length * 4 >= limit) {
      this.#all = true;
      return false;
    }
    const ids = new Int32Array(new SharedArrayBuffer(Math.max(idsMin, length * 2) * 4));
    ids.set(this.#ids);
    this.#ids = ids;
    return true;
  }
}
