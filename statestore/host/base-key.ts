import { baseKeyBytesMax } from './base-store.js';

/*
 * An entry's key in a base, ordered bytewise as entries are: by key group, state, key, sub key, a prefix first.
 *
 *     key group u16, big-endian | state u8, or 255 and u16 big-endian | key | sub key
 *
 * where key and sub key are bytes of which runs of zeros are written as two bytes, so that the end can be one of them:
 *
 *     0, n         n zeros (0 to 126), and the end
 *     0, 255 - n   n zeros (1 to 126), and then something that is not zero
 *     0, 128       127 zeros, and then anything
 *
 * Longer runs come first, as they should: the end after few zeros, then after more; whatever goes on with a zero comes before
 * what goes on otherwise. Numbers as keys have many zeros; so most keys become shorter rather than longer.
 */
const END_MAX = 126;
const LONG_RUN = 128;
const LONG_RUN_ZEROS = 127;
const WIDE_STATE = 255;

/** Encoded keys this long or longer share one record with all that begin alike (`base-entries.ts`). */
export const wholeKeyBytesMax = baseKeyBytesMax - 1;

/** States are told apart in a base by numbers below this. */
export const baseStatesMax = 0xff00;

const viewsMax = baseKeyBytesMax;
/** Above the keys of every key group, with `baseStatesMax`. */
const endOfAll = Uint8Array.of(255, 255, 255, 255);

/** Writes keys into memory of its own. */
export class BaseKeyWriter {
  #bytes = new Uint8Array(256);
  /** Views of all lengths that occurred: a key must be an array of its very length, and an allocation a lookup is one too many. */
  #views: (Uint8Array | undefined)[] = [];
  #length = 0;

  /** The key as written last, in place: valid until the next one. */
  get key(): Uint8Array {
    const length = this.#length;
    if (length > viewsMax) return this.#bytes.subarray(0, length);
    let view = this.#views[length];
    if (view === undefined) {
      view = this.#bytes.subarray(0, length);
      this.#views[length] = view;
    }
    return view;
  }

  get length(): number {
    return this.#length;
  }

  /** What all keys of a key group begin with. */
  keyGroup(keyGroup: number): this {
    this.#bytes[0] = keyGroup >>> 8;
    this.#bytes[1] = keyGroup;
    this.#length = 2;
    return this;
  }

  state(state: number): this {
    if (state < WIDE_STATE) this.#bytes[this.#length++] = state;
    else {
      this.#bytes[this.#length] = WIDE_STATE;
      this.#bytes[this.#length + 1] = state >>> 8;
      this.#bytes[this.#length + 2] = state;
      this.#length += 3;
    }
    return this;
  }

  /** A key or a sub key. */
  part(bytes: Uint8Array, from: number, end: number): this {
    // A lone zero takes two bytes, and so does the end.
    const needed = this.#length + 2 * (end - from) + 2;
    if (needed > this.#bytes.length) this.#grow(needed);
    const target = this.#bytes;
    let at = this.#length;
    for (let i = from; i < end; i++) {
      const byte = bytes[i] as number;
      target[at++] = byte;
      if (byte !== 0) continue;
      let zeros = 1;
      while (zeros < LONG_RUN_ZEROS && i + 1 < end && bytes[i + 1] === 0) {
        zeros++;
        i++;
      }
      if (zeros === LONG_RUN_ZEROS) target[at++] = LONG_RUN;
      else if (i + 1 < end) target[at++] = 255 - zeros;
      else {
        target[at++] = zeros;
        this.#length = at;
        return this;
      }
    }
    target[at++] = 0;
    target[at++] = 0;
    this.#length = at;
    return this;
  }

  /** Makes it a bound: above all keys that begin with what was written, and no higher than the next that does not. */
  after(): this {
    let at = this.#length - 1;
    while (at >= 0 && this.#bytes[at] === 255) at--;
    if (at < 0) {
      this.#bytes.set(endOfAll);
      this.#length = endOfAll.length;
      return this;
    }
    this.#bytes[at] = (this.#bytes[at] as number) + 1;
    this.#length = at + 1;
    return this;
  }

  #grow(needed: number): void {
    const grown = new Uint8Array(needed * 2);
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#views = [];
  }
}

/** Reads keys, into memory of its own: valid until the next one. */
export class BaseKeyReader {
  keyGroup = 0;
  state = 0;
  /** Key and sub key, end to end. */
  bytes: Uint8Array = new Uint8Array(256);
  keyEnd = 0;
  subEnd = 0;
  #at = 0;

  read(key: Uint8Array): void {
    this.keyGroup = ((key[0] as number) << 8) | (key[1] as number);
    const state = key[2] as number;
    const wide = state === WIDE_STATE;
    this.state = wide ? ((key[3] as number) << 8) | (key[4] as number) : state;
    this.#at = wide ? 5 : 3;
    this.keyEnd = this.#part(key, 0);
    this.subEnd = this.#part(key, this.keyEnd);
  }

  #part(key: Uint8Array, from: number): number {
    let to = from;
    for (;;) {
      const byte = key[this.#at++] as number;
      // A run of zeros is at most 127 long.
      if (to + LONG_RUN_ZEROS >= this.bytes.length) this.#grow();
      if (byte !== 0) {
        this.bytes[to++] = byte;
        continue;
      }
      const code = key[this.#at++] as number;
      const zeros = code <= END_MAX ? code : code === LONG_RUN ? LONG_RUN_ZEROS : 255 - code;
      this.bytes.fill(0, to, to + zeros);
      to += zeros;
      if (code <= END_MAX) return to;
    }
  }

  #grow(): void {
    const grown = new Uint8Array(this.bytes.length * 2);
    grown.set(this.bytes);
    this.bytes = grown;
  }
}
