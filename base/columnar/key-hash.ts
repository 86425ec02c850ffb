/**
 * The 32-bit hash of a key: the mixer of murmur3_32 (Appleby) over the words of its values, column after column. ONE definition with
 * two ways to compute it that always agree: `hashColumn` over a batch's columns, without making keys, and `hashKey`
 * over encoded key bytes. Words of a value:
 *
 *     null      0x9e3779b9              int32             the value
 *     bool      0 / 1                   int64, timestamp  low, high
 *     float64   low, high (-0 as 0, one NaN)
 *     utf8      little-endian words of its bytes, the last one padded with zeros; then its length
 */
import type { Column } from './column.js';
import {
  isNaNWords,
  KEY_FALSE,
  KEY_FLOAT64,
  KEY_INT32,
  KEY_INT64,
  KEY_NULL,
  KEY_TIMESTAMP,
  KEY_TRUE,
  KEY_UTF8,
  keyCorrupt,
  unescapeUtf8,
  wordAt,
} from './key-encoding.js';

const SEED = 0x6d696c6c;
const NULL_WORD = 0x9e3779b9 | 0;
const NAN_HIGH = 0x7ff80000;
const SIGN = 0x80000000 | 0;

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function mixFloat(hash: number, low: number, high: number): number {
  if (isNaNWords(low, high)) return mix(mix(hash, 0), NAN_HIGH);
  return mix(mix(hash, low), high === SIGN && low === 0 ? 0 : high);
}

function mixBytes(hash: number, bytes: Uint8Array, from: number, to: number): number {
  let h = hash;
  let i = from;
  for (; i + 4 <= to; i += 4) {
    const word =
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24);
    h = mix(h, word);
  }
  if (i < to) {
    let word = bytes[i] as number;
    if (i + 1 < to) word |= (bytes[i + 1] as number) << 8;
    if (i + 2 < to) word |= (bytes[i + 2] as number) << 16;
    h = mix(h, word);
  }
  return mix(h, to - from);
}

/** The same over a column's strings, four bytes at once. */
function mixView(hash: number, column: Column, from: number, to: number): number {
  const view = column.dataView;
  let h = hash;
  let i = from;
  for (; i + 4 <= to; i += 4) h = mix(h, view.getInt32(i, true));
  if (i < to) {
    const bytes = column.data;
    let word = bytes[i] as number;
    if (i + 1 < to) word |= (bytes[i + 1] as number) << 8;
    if (i + 2 < to) word |= (bytes[i + 2] as number) << 16;
    h = mix(h, word);
  }
  return mix(h, to - from);
}

/** Where the string that starts at `from` ends, if nothing in it is escaped; -1 otherwise. */
function plainEnd(key: Uint8Array, from: number): number {
  let end = from;
  while (end < key.length && key[end] !== 0) end++;
  return end < key.length && key[end + 1] !== 0xff ? end : -1;
}

/** The hash of encoded key bytes. @throws MillraceError `KEY_CORRUPT` (corrupt). */
export function hashKey(key: Uint8Array): number {
  let h = SEED;
  let at = 0;
  while (at < key.length) {
    switch (key[at]) {
      case KEY_NULL:
        h = mix(h, NULL_WORD);
        at += 1;
        break;
      case KEY_FALSE:
      case KEY_TRUE:
        h = mix(h, key[at] === KEY_TRUE ? 1 : 0);
        at += 1;
        break;
      case KEY_INT32:
        h = mix(h, wordAt(key, at + 1) ^ SIGN);
        at += 5;
        break;
      case KEY_INT64:
      case KEY_TIMESTAMP:
        h = mix(mix(h, wordAt(key, at + 5)), wordAt(key, at + 1) ^ SIGN);
        at += 9;
        break;
      case KEY_FLOAT64: {
        const high = wordAt(key, at + 1);
        const low = wordAt(key, at + 5);
        h = high < 0 ? mixFloat(h, low, high ^ SIGN) : mixFloat(h, ~low, ~high);
        at += 9;
        break;
      }
      case KEY_UTF8: {
        const end = plainEnd(key, at + 1);
        if (end >= 0) {
          h = mixBytes(h, key, at + 1, end);
          at = end + 1;
        } else {
          const { text, next } = unescapeUtf8(key, at + 1);
          h = mixBytes(h, text, 0, text.length);
          at = next;
        }
        break;
      }
      default:
        throw keyCorrupt(`tag ${key[at]} at ${at}`);
    }
  }
  return finish(h);
}

/** Starts the hashes of the first `rows` rows. */
export function startHashes(out: Uint32Array, rows: number): void {
  out.fill(SEED, 0, rows);
}

/** Mixes one column into the hashes of the first `rows` rows. */
export function hashColumn(column: Column, rows: number, out: Uint32Array): void {
  if (column.validity !== undefined) {
    hashNullable(column, rows, out);
    return;
  }
  const { words } = column;
  switch (column.type) {
    case 'bool':
      for (let r = 0; r < rows; r++) {
        out[r] = mix(out[r] as number, ((column.bits[r >>> 3] as number) >>> (r & 7)) & 1);
      }
      break;
    case 'int32':
      for (let r = 0; r < rows; r++) out[r] = mix(out[r] as number, words[r] as number);
      break;
    case 'int64':
    case 'timestamp':
      for (let r = 0; r < rows; r++) {
        out[r] = mix(mix(out[r] as number, words[2 * r] as number), words[2 * r + 1] as number);
      }
      break;
    case 'float64':
      for (let r = 0; r < rows; r++) {
        out[r] = mixFloat(out[r] as number, words[2 * r] as number, words[2 * r + 1] as number);
      }
      break;
    case 'utf8': {
      const { offsets } = column;
      let from = offsets[0] as number;
      for (let r = 0; r < rows; r++) {
        const to = offsets[r + 1] as number;
        out[r] = mixView(out[r] as number, column, from, to);
        from = to;
      }
      break;
    }
  }
}

function hashNullable(column: Column, rows: number, out: Uint32Array): void {
  const { words, bits, offsets, type } = column;
  for (let r = 0; r < rows; r++) {
    const h = out[r] as number;
    if (column.isNull(r)) out[r] = mix(h, NULL_WORD);
    else if (type === 'int32') out[r] = mix(h, words[r] as number);
    else if (type === 'utf8') out[r] = mixView(h, column, offsets[r] as number, offsets[r + 1] as number);
    else if (type === 'bool') out[r] = mix(h, ((bits[r >>> 3] as number) >>> (r & 7)) & 1);
    else if (type === 'float64') out[r] = mixFloat(h, words[2 * r] as number, words[2 * r + 1] as number);
    else out[r] = mix(mix(h, words[2 * r] as number), words[2 * r + 1] as number);
  }
}

export function finishHashes(out: Uint32Array, rows: number): void {
  for (let r = 0; r < rows; r++) out[r] = finish(out[r] as number);
}
