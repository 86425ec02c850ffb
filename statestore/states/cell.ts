/*
 * An entry's value with what must be known to read it:
 *
 *     word u32 LE: flags (8 bits: 1 = has an expiry) | fingerprint of its shape (24 bits)
 *     expiry f64 LE, ms since 1970, only with flag 1
 *     the value
 */
const EXPIRES = 1;
const WORD_BYTES = 4;
const EXPIRY_BYTES = 8;

/** `expiryMs` 0: none. */
export function encodeCell(fingerprint: number, expiryMs: number, value: Uint8Array): Uint8Array {
  const head = expiryMs === 0 ? WORD_BYTES : WORD_BYTES + EXPIRY_BYTES;
  const cell = new Uint8Array(head + value.length);
  cell[0] = expiryMs === 0 ? 0 : EXPIRES;
  cell[1] = fingerprint;
  cell[2] = fingerprint >>> 8;
  cell[3] = fingerprint >>> 16;
  if (expiryMs !== 0) viewOf(cell).setFloat64(WORD_BYTES, expiryMs, true);
  cell.set(value, head);
  return cell;
}

export function fingerprintOfCell(cell: Uint8Array): number {
  return (cell[1] as number) | ((cell[2] as number) << 8) | ((cell[3] as number) << 16);
}

/** 0: none. */
export function expiryOfCell(cell: Uint8Array): number {
  return ((cell[0] as number) & EXPIRES) === 0 ? 0 : viewOf(cell).getFloat64(WORD_BYTES, true);
}

/** A view. */
export function valueOfCell(cell: Uint8Array): Uint8Array {
  return cell.subarray(((cell[0] as number) & EXPIRES) === 0 ? WORD_BYTES : WORD_BYTES + EXPIRY_BYTES);
}

function viewOf(cell: Uint8Array): DataView {
  return new DataView(cell.buffer, cell.byteOffset, cell.byteLength);
}
