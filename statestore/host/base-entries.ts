import { bucketWith, entriesOfBucket, findInBucket, type PayloadRange } from './base-bucket.js';
import { BaseKeyReader, BaseKeyWriter, wholeKeyBytesMax } from './base-key.js';
import { type BaseScan, type BaseSnapshot, type BaseTransaction, baseKeyBytesMax } from './base-store.js';

/** Looks up entries in one snapshot of a base. */
export class BaseFinder {
  /** Holds the payload found last: copy it before the next call of anything that uses this base in this thread. */
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  readonly #snapshot: BaseSnapshot;
  readonly #writer = new BaseKeyWriter();

  constructor(snapshot: BaseSnapshot) {
    this.#snapshot = snapshot;
  }

  /** Whether there is one; its payload is `bytes` from `start` to `end`. */
  find(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): boolean {
    const writer = this.#writer.keyGroup(keyGroup).state(state).part(key, 0, key.length).part(sub, 0, sub.length);
    const whole = writer.key;
    if (whole.length > wholeKeyBytesMax) return this.#findLong(whole);
    const length = this.#snapshot.find(whole);
    if (length < 0) return false;
    this.bytes = this.#snapshot.value;
    this.start = 0;
    this.end = length;
    return true;
  }

  #findLong(key: Uint8Array): boolean {
    const length = this.#snapshot.find(key.subarray(0, baseKeyBytesMax));
    if (length < 0) return false;
    const bucket = this.#snapshot.value.slice(0, length);
    const found = findInBucket(bucket, key.subarray(baseKeyBytesMax));
    if (found === undefined) return false;
    this.bytes = bucket;
    this.start = found.start;
    this.end = found.end;
    return true;
  }
}

/** Walks entries of a base in order. The fields are those of the current one and valid until the next. */
export class BaseWalk {
  keyGroup = 0;
  /** As the base numbers states. */
  state = 0;
  /** Key, sub key and payload, each from where the one before ends. */
  bytes: Uint8Array = new Uint8Array(0);
  keyEnd = 0;
  subEnd = 0;
  payloadEnd = 0;
  readonly #scan: BaseScan;
  readonly #reader = new BaseKeyReader();
  #bucket: Iterator<PayloadRange & { readonly rest: Uint8Array }> | undefined;
  #payload = new Uint8Array(0);

  /** Encoded keys with `from` <= key < `to`. */
  constructor(snapshot: BaseSnapshot, from: Uint8Array, to: Uint8Array) {
    this.#scan = snapshot.scan(from, to);
  }

  next(): boolean {
    for (;;) {
      if (this.#bucket !== undefined) {
        const { done, value } = this.#bucket.next();
        if (done !== true) {
          const { key, value: bucket } = this.#scan;
          this.#show(Buffer.concat([key, value.rest]), bucket, value.start, value.end);
          return true;
        }
        this.#bucket = undefined;
      }
      if (!this.#scan.next()) return false;
      const { key, value } = this.#scan;
      if (key.length > wholeKeyBytesMax) this.#bucket = entriesOfBucket(value);
      else {
        this.#show(key, value, 0, value.length);
        return true;
      }
    }
  }

  close(): void {
    this.#scan.close();
  }

  #show(key: Uint8Array, value: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.read(key);
    const length = reader.subEnd + end - start;
    if (this.#payload.length < length) this.#payload = new Uint8Array(length * 2);
    const bytes = this.#payload;
    bytes.set(reader.bytes.subarray(0, reader.subEnd));
    bytes.set(value.subarray(start, end), reader.subEnd);
    this.bytes = bytes;
    this.keyGroup = reader.keyGroup;
    this.state = reader.state;
    this.keyEnd = reader.keyEnd;
    this.subEnd = reader.subEnd;
    this.payloadEnd = length;
  }
}

/** Up to here a loop is faster than a view and `set` (profiled: views of keys and payloads were a fifth of a fold). */
const shortBytesMax = 64;

function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > shortBytesMax) to.set(from.subarray(start, end), at);
  else for (let i = start, j = at; i < end; i++, j++) to[j] = from[i] as number;
}

/** Pieces of bytes as arrays of their very length, each valid until the next: short ones in memory that is used again. */
class Pieces {
  readonly #byLength: (Uint8Array | undefined)[] = [];

  of(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const length = end - start;
    if (length > shortBytesMax) return bytes.subarray(start, end);
    let piece = this.#byLength[length];
    if (piece === undefined) {
      piece = new Uint8Array(length);
      this.#byLength[length] = piece;
    }
    copy(bytes, start, end, piece, 0);
    return piece;
  }
}

/** Entries on their way into a base: collected at leisure, applied in one short transaction. */
export class BaseBatch {
  readonly #writer = new BaseKeyWriter();
  #bytes = new Uint8Array(64 * 1024);
  #length = 0;
  /** Start of the key, start of the payload, its end (or -1: removed). */
  #ranges = new Int32Array(3 * 1024);
  #count = 0;
  readonly #keys = new Pieces();
  readonly #payloads = new Pieces();

  get count(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
    this.#count = 0;
  }

  /** Key, sub key and payload stand end to end in `bytes`. */
  put(
    keyGroup: number,
    state: number,
    bytes: Uint8Array,
    start: number,
    keyEnd: number,
    subEnd: number,
    end: number,
  ): void {
    const at = this.#addKey(keyGroup, state, bytes, start, keyEnd, subEnd);
    this.#ranges[at + 2] = this.#add(bytes, subEnd, end) + end - subEnd;
  }

  remove(keyGroup: number, state: number, bytes: Uint8Array, start: number, keyEnd: number, subEnd: number): void {
    // First: it may replace the ranges.
    const at = this.#addKey(keyGroup, state, bytes, start, keyEnd, subEnd);
    this.#ranges[at + 2] = -1;
  }

  apply(transaction: BaseTransaction): void {
    for (let at = 0; at < this.#count * 3; at += 3) {
      const split = this.#ranges[at + 1] as number;
      const end = this.#ranges[at + 2] as number;
      const key = this.#keys.of(this.#bytes, this.#ranges[at] as number, split);
      const payload = end < 0 ? undefined : this.#payloads.of(this.#bytes, split, end);
      if (key.length > wholeKeyBytesMax) applyLong(transaction, key, payload);
      else if (payload === undefined) transaction.remove(key);
      else transaction.put(key, payload);
    }
  }

  /** @returns its place in `#ranges`. */
  #addKey(keyGroup: number, state: number, bytes: Uint8Array, start: number, keyEnd: number, subEnd: number): number {
    const { key } = this.#writer.keyGroup(keyGroup).state(state).part(bytes, start, keyEnd).part(bytes, keyEnd, subEnd);
    const at = this.#count++ * 3;
    if (at === this.#ranges.length) {
      const grown = new Int32Array(at * 2);
      grown.set(this.#ranges);
      this.#ranges = grown;
    }
    const from = this.#add(key, 0, key.length);
    this.#ranges[at] = from;
    this.#ranges[at + 1] = from + key.length;
    return at;
  }

  #add(bytes: Uint8Array, start: number, end: number): number {
    const at = this.#length;
    this.#length = at + end - start;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(this.#length * 2);
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    copy(bytes, start, end, this.#bytes, at);
    return at;
  }
}

function applyLong(transaction: BaseTransaction, key: Uint8Array, payload: Uint8Array | undefined): void {
  const beginning = key.subarray(0, baseKeyBytesMax);
  const bucket = bucketWith(transaction.get(beginning), key.subarray(baseKeyBytesMax), payload);
  if (bucket === undefined) transaction.remove(beginning);
  else transaction.put(beginning, bucket);
}
