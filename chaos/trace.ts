const TEXTS_MAX = 4096;

/**
 * What happened, in order: a running 64-bit hash over everything (the same seed must give the same hash), and the last
 * `capacity` entries in words. Recording an event costs some tens of nanoseconds; words are made only when asked for.
 */
export class Trace {
  readonly #capacity: number;
  readonly #times: Float64Array;
  readonly #actors: string[];
  readonly #labels: string[];
  readonly #details: (number | string)[];
  readonly #texts = new Map<string, number>();
  readonly #float = new Float64Array(1);
  readonly #halves = new Uint32Array(this.#float.buffer);
  #count = 0;
  #h1 = 0x9e3779b9;
  #h2 = 0x85ebca6b;

  constructor(options: { readonly capacity?: number } = {}) {
    this.#capacity = options.capacity ?? 1000;
    this.#times = new Float64Array(this.#capacity);
    this.#actors = new Array<string>(this.#capacity).fill('');
    this.#labels = new Array<string>(this.#capacity).fill('');
    this.#details = new Array<number | string>(this.#capacity).fill(0);
  }

  /** Entries so far. */
  get count(): number {
    return this.#count;
  }

  /** 16 hex digits over every entry so far. */
  get hash(): string {
    return (this.#h1 >>> 0).toString(16).padStart(8, '0') + (this.#h2 >>> 0).toString(16).padStart(8, '0');
  }

  /** `actor` and `label` come from a small set of words; what varies goes into `detail`. */
  record(timeMs: number, actor: string, label: string, detail: number | string): void {
    const slot = this.#count++ % this.#capacity;
    this.#times[slot] = timeMs;
    this.#actors[slot] = actor;
    this.#labels[slot] = label;
    this.#details[slot] = detail;
    this.#float[0] = timeMs;
    this.#mix(this.#halves[0] as number);
    this.#mix(this.#halves[1] as number);
    this.#mix(this.#word(actor));
    this.#mix(this.#word(label));
    if (typeof detail === 'string') {
      this.#mix(hashText(detail));
    } else {
      this.#float[0] = detail;
      this.#mix(this.#halves[0] as number);
      this.#mix(this.#halves[1] as number);
    }
  }

  /** The last `n` entries, oldest first, one line each. */
  last(n: number): string[] {
    const lines: string[] = [];
    for (let i = Math.max(0, this.#count - Math.min(n, this.#capacity)); i < this.#count; i++) {
      const slot = i % this.#capacity;
      const time = (this.#times[slot] as number).toFixed(3).padStart(12);
      lines.push(
        `${String(i).padStart(8)} ${time} ms  ${this.#actors[slot]}  ${this.#labels[slot]} ${this.#details[slot]}`,
      );
    }
    return lines;
  }

  #mix(value: number): void {
    let h = Math.imul(this.#h1 ^ value, 0x21f0aaad);
    h ^= h >>> 15;
    this.#h1 = Math.imul(h, 0x735a2d97) ^ this.#h2;
    this.#h2 = Math.imul(this.#h2 ^ (h >>> 13), 0xc2b2ae35) + value;
  }

  #word(text: string): number {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const hash = hashText(text);
    if (this.#texts.size < TEXTS_MAX) this.#texts.set(text, hash);
    return hash;
  }
}

function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
