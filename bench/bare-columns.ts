interface EventRow {
  readonly time: number;
  readonly a: number;
  readonly b: number;
  readonly ratio: number;
  readonly text: string;
}

/**
 * The limit of what batches do: the same columns as bare typed arrays, of one known shape, with nothing checked: no
 * nulls, no growing, ASCII only, no layout to be written.
 */
export class BareColumns {
  readonly #from: Columns;
  readonly #to: Columns;

  constructor(rows: readonly EventRow[]) {
    const textBytes = rows.reduce((sum, row) => sum + row.text.length, 0);
    this.#from = columnsFor(rows.length, textBytes);
    this.#to = columnsFor(rows.length, textBytes);
    write(this.#from, rows);
  }

  /** Every number of every row. */
  sum(): number {
    const { time, a, b, ratio } = this.#from;
    let sum = 0;
    for (let row = 0; row < a.length; row++) {
      sum += (time[row] as number) + (a[row] as number) + (b[row] as number) + (ratio[row] as number);
    }
    return sum;
  }

  /** Objects into columns. */
  fill(rows: readonly EventRow[]): void {
    write(this.#to, rows);
  }

  /** Rows in the given order into other columns, column by column. */
  gather(order: Uint32Array): void {
    const from = this.#from;
    const to = this.#to;
    for (let i = 0; i < order.length; i++) to.time[i] = from.time[order[i] as number] as number;
    for (let i = 0; i < order.length; i++) to.a[i] = from.a[order[i] as number] as number;
    for (let i = 0; i < order.length; i++) to.b[i] = from.b[order[i] as number] as number;
    for (let i = 0; i < order.length; i++) to.ratio[i] = from.ratio[order[i] as number] as number;
    let at = 0;
    for (let i = 0; i < order.length; i++) {
      const row = order[i] as number;
      const end = from.offsets[row + 1] as number;
      let byte = from.offsets[row] as number;
      // The fastest known way for strings of tens of bytes; a native copy pays from a hundred bytes on.
      for (; byte + 4 <= end; byte += 4, at += 4) to.view.setInt32(at, from.view.getInt32(byte, true), true);
      for (; byte < end; byte++) to.text[at++] = from.text[byte] as number;
      to.offsets[i + 1] = at;
    }
  }

  /** One round of integer mixing a row: the least a hash can be. */
  mix(out: Uint32Array): void {
    const { a } = this.#from;
    for (let row = 0; row < a.length; row++) {
      let hash = Math.imul(a[row] as number, 0x85ebca6b);
      hash ^= hash >>> 13;
      hash = Math.imul(hash, 0xc2b2ae35);
      out[row] = hash ^ (hash >>> 16);
    }
  }
}

interface Columns {
  readonly time: Float64Array;
  readonly a: Int32Array;
  readonly b: Int32Array;
  readonly ratio: Float64Array;
  readonly offsets: Int32Array;
  readonly text: Uint8Array;
  readonly view: DataView;
}

function columnsFor(rows: number, textBytes: number): Columns {
  const text = new Uint8Array(textBytes);
  return {
    time: new Float64Array(rows),
    a: new Int32Array(rows),
    b: new Int32Array(rows),
    ratio: new Float64Array(rows),
    offsets: new Int32Array(rows + 1),
    text,
    view: new DataView(text.buffer),
  };
}

function write(to: Columns, rows: readonly EventRow[]): void {
  let at = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as EventRow;
    to.time[i] = row.time;
    to.a[i] = row.a;
    to.b[i] = row.b;
    to.ratio[i] = row.ratio;
    const { text } = row;
    for (let c = 0; c < text.length; c++) to.text[at++] = text.charCodeAt(c);
    to.offsets[i + 1] = at;
  }
}
