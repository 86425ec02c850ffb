/**
 * Strings <-> UTF-8 in place. Calls into native code cost more than the work for short strings, so short ASCII is
 * encoded in JavaScript, and short strings are decoded through a cache: columns such as country, airport or status
 * repeat few values, and a repeated value costs no allocation. Longer strings: the native decoder has an ASCII path of
 * its own (measured: 24 bytes in 108 ns; a check in JavaScript before latin1 made it 165). Lone surrogates and invalid bytes become U+FFFD.
 */

/** Node's native Buffer methods, which take any Uint8Array as `this`; not in its type declarations. */
interface NativeMethods {
  utf8Slice(this: Uint8Array, start: number, end: number): string;
  utf8Write(this: Uint8Array, text: string, offset: number): number;
}
const { utf8Slice, utf8Write } = Buffer.prototype as unknown as NativeMethods;

const ASCII_WRITE_MAX = 24;
const CACHED_BYTES_MAX = 8;
const CACHE_SLOTS = 4096;

const cacheLow = new Int32Array(CACHE_SLOTS);
const cacheHigh = new Int32Array(CACHE_SLOTS);
/** 0: empty. */
const cacheLength = new Uint8Array(CACHE_SLOTS);
const cacheText: string[] = new Array<string>(CACHE_SLOTS).fill('');

/** The string in [start, end). */
export function readUtf8(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length === 0) return '';
  if (length <= CACHED_BYTES_MAX) return readShort(bytes, start, length);
  return utf8Slice.call(bytes, start, end);
}

function readShort(bytes: Uint8Array, start: number, length: number): string {
  let low = 0;
  let high = 0;
  const head = length < 4 ? length : 4;
  for (let i = 0; i < head; i++) low = (low << 8) | (bytes[start + i] as number);
  for (let i = 4; i < length; i++) high = (high << 8) | (bytes[start + i] as number);
  let slot = Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca77) ^ length;
  slot = (slot ^ (slot >>> 15)) & (CACHE_SLOTS - 1);
  if (cacheLow[slot] === low && cacheHigh[slot] === high && cacheLength[slot] === length) {
    return cacheText[slot] as string;
  }
  const text = utf8Slice.call(bytes, start, start + length);
  cacheLow[slot] = low;
  cacheHigh[slot] = high;
  cacheLength[slot] = length;
  cacheText[slot] = text;
  return text;
}

/** Writes `text` at `start` and returns the end. There must be room for 3 bytes per UTF-16 unit. */
export function writeUtf8(bytes: Uint8Array, start: number, text: string): number {
  const length = text.length;
  if (length <= ASCII_WRITE_MAX) {
    let i = 0;
    for (; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= 0x80) break;
      bytes[start + i] = unit;
    }
    if (i === length) return start + length;
  }
  return start + utf8Write.call(bytes, text, start);
}
