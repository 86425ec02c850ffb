const padding = 8;
const bytesMin = 1024;

/**
 * The keys of a batch's rows, column by column: hashes, and keys end to end. Filled by `KeyExtractor.rows`, used again for the
 * next batch; what it holds is valid until then. What tables of keyed state take many rows by.
 */
export class KeyRows {
  rows = 0;
  hashes = new Uint32Array(0);
  /** Group of each row's hash. */
  keyGroups = new Uint16Array(0);
  /** The key of row r is `keys[offsets[r]]` up to `keys[offsets[r + 1]]`; 8 more bytes follow the last. */
  keys = new Uint8Array(bytesMin);
  offsets = new Int32Array(1);
  /** What all keys are long, if their type tells so; otherwise 0. */
  keyLength = 0;
  /** The same bytes as `keys`. */
  view = new DataView(this.keys.buffer);

  /** Makes room; what was there is gone. */
  reset(rows: number): void {
    this.rows = rows;
    this.keyLength = 0;
    if (this.hashes.length >= rows) return;
    this.hashes = new Uint32Array(rows);
    this.keyGroups = new Uint16Array(rows);
    this.offsets = new Int32Array(rows + 1);
  }

  /** Room for so many bytes of keys, what is there is kept. */
  reserve(bytes: number): void {
    if (bytes + padding <= this.keys.length) return;
    const keys = new Uint8Array(Math.max(bytes + padding, this.keys.length * 2));
    keys.set(this.keys);
    this.keys = keys;
    this.view = new DataView(keys.buffer);
  }
}
