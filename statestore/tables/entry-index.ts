/** At most so full: then a search for what is not there takes some twenty cells, a line of memory or two. */
const fullMax = 0.85;
const growth = 4 / 3;
const cellsMin = 32;
/** Cells fill whole lines of memory. */
const line = 16;
const wordValues = 2 ** 32;

/**
 * Hash -> id, by open addressing: one 32-bit cell each, the id in the low bits, and above them as many bits of the hash as there
 * is room for (8 at ten million ids), so that few records of other keys are looked at. Where a search begins is told by the
 * hash's high bits, multiplied out: the number of cells need not be a power of two, and grows by a third.
 *
 *     0           nothing was ever here: a search ends
 *     tag, id 0   removed; ids begin at 1
 *
 * Searching is the table's own loop (`EntryTable.find`), over these fields.
 */
export class EntryIndex {
  cells = new Int32Array(cellsMin);
  cellCount = cellsMin;
  scale = cellsMin / wordValues;
  idBits = bitsFor(cellsMin);
  /** Of the hash's bits in a cell. */
  tagMask = -1 << this.idBits;
  /** Cells that do not end a search. */
  #used = 0;

  get byteLength(): number {
    return this.cells.byteLength;
  }

  /** Whether it must be made anew before one more, of an id up to this one, is added. */
  isFull(id: number): boolean {
    return this.#used + 1 > this.cellCount * fullMax || id >>> this.idBits !== 0;
  }

  /** Empties it, with room for so many, of ids up to this one, and then some. */
  clear(entries: number, id: number): void {
    // Where many were removed there is room enough, without the marks they left.
    if (entries < this.cellCount * (fullMax / growth)) this.cells.fill(0);
    else {
      this.cellCount = Math.ceil(((entries / fullMax) * growth) / line) * line;
      this.cells = new Int32Array(this.cellCount);
    }
    this.scale = this.cellCount / wordValues;
    this.idBits = bitsFor(Math.max(this.cellCount, Math.ceil(id * growth)));
    this.tagMask = -1 << this.idBits;
    this.#used = 0;
  }

  add(mixed: number, id: number): void {
    const { cells, cellCount, tagMask } = this;
    let at = ((mixed >>> 0) * this.scale) | 0;
    while (((cells[at] as number) & ~tagMask) !== 0) at = at + 1 === cellCount ? 0 : at + 1;
    if (cells[at] === 0) this.#used++;
    cells[at] = (mixed << this.idBits) | id;
  }

  remove(mixed: number, id: number): void {
    const { cells, cellCount, tagMask } = this;
    const cell = (mixed << this.idBits) | id;
    let at = ((mixed >>> 0) * this.scale) | 0;
    while (cells[at] !== cell) at = at + 1 === cellCount ? 0 : at + 1;
    const next = at + 1 === cellCount ? 0 : at + 1;
    if (cells[next] !== 0) {
      cells[at] = 1 << this.idBits;
      return;
    }
    // The end of a run: the marks before it are not needed either.
    cells[at] = 0;
    this.#used--;
    for (let before = at; ; ) {
      before = before === 0 ? cellCount - 1 : before - 1;
      const mark = cells[before] as number;
      if (mark === 0 || (mark & ~tagMask) !== 0) return;
      cells[before] = 0;
      this.#used--;
    }
  }
}

/** Of ids up to this one. */
function bitsFor(id: number): number {
  return 32 - Math.clz32(id);
}
