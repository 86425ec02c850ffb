import type { World } from './head-model-world.test.support.js';

interface Part {
  /** Number of what it looks like with all nonces called the same. */
  readonly shape: number;
  /** Numbers of the nonces in it, as they stand, and which they are as bits. */
  readonly nonces: readonly number[];
  readonly bits: number;
}

const nonceMax = 30;

class Itself {
  constructor(value: object) {
    // biome-ignore lint/correctness/noConstructorReturn: the point of it, see Known.
    return value;
  }
}

/**
 * What is known of an object, in a private field put on the object itself: found as fast as a field, where a WeakMap takes most of the
 * time of an exploration, and not copied by a spread.
 */
class Known extends Itself {
  #part: Part;
  constructor(value: object, part: Part) {
    super(value);
    this.#part = part;
  }
  static of(value: object): Part | undefined {
    return #part in value ? (value as Known).#part : undefined;
  }
}

/**
 * Keys of states. Two things are left out that no step can tell: how nonces are called (any that are equal stay equal, any that
 * differ differ), and which of several like actors is which. Nonces are the words n1, n2, .. in any string. What a part of a state
 * looks like is found out once for each object, and states share their parts, so a step pays only for what it changes.
 */
export class WorldKeys {
  readonly #strings = new Map<string, Part>();
  readonly #shapes = new Map<string, number>();
  readonly #names = new Int8Array(nonceMax + 1);

  keyOf(world: World): string {
    const parts = this.#partsOf(world);
    const names = this.#names.fill(0);
    let named = 0;
    let key = world.problem ?? '';
    for (const { shape, nonces } of parts) {
      key += `;${shape}`;
      for (const nonce of nonces) {
        if (names[nonce] === 0) names[nonce] = ++named;
        key += `,${names[nonce]}`;
      }
    }
    return key;
  }

  /** A nonce that nothing and nobody has: the first free one, so that there are never many. */
  fresh(world: World): string {
    let taken = 0;
    for (const { bits } of this.#partsOf(world)) taken |= bits;
    for (let nonce = 1; nonce <= nonceMax; nonce++) if ((taken & (1 << nonce)) === 0) return `n${nonce}`;
    throw new Error(`more than ${nonceMax} nonces in one state`);
  }

  #partsOf({ head, objects, flying, budget, writers, collectors, readers }: World): Part[] {
    const parts = [this.#partOf(objects), this.#partOf(flying), this.#partOf(budget)];
    if (head !== null) parts.push(this.#partOf(head));
    for (const actors of [writers, collectors, readers]) {
      const found = actors.map((actor) => this.#partOf(actor));
      parts.push(...(found.length > 1 ? found.sort((a, b) => a.shape - b.shape) : found));
    }
    return parts;
  }

  #partOf(value: object): Part {
    const known = Known.of(value);
    if (known !== undefined) return known;
    const fields = Array.isArray(value) ? value : Object.values(value);
    let text = Array.isArray(value) ? '[' : '';
    // Kinds of objects are told apart by their fields, all of which each of them has, in one order; but see Request.
    if (fields.length === 1 && text === '') text = Object.keys(value)[0] as string;
    let bits = 0;
    const nonces: number[] = [];
    for (const field of fields) {
      if (typeof field !== 'string' && (typeof field !== 'object' || field === null)) {
        text += `:${field}`;
        continue;
      }
      const part = typeof field === 'string' ? this.#partOfString(field) : this.#partOf(field);
      text += `=${part.shape}`;
      bits |= part.bits;
      for (const nonce of part.nonces) nonces.push(nonce);
    }
    const part = { shape: this.#shapeOf(text), nonces, bits };
    new Known(value, part);
    return part;
  }

  #partOfString(value: string): Part {
    let part = this.#strings.get(value);
    if (part === undefined) {
      const nonces = [...value.matchAll(/\bn(\d+)\b/g)].map((word) => Number(word[1]));
      const bits = nonces.reduce((all, nonce) => all | (1 << nonce), 0);
      part = { shape: this.#shapeOf(`"${value.replace(/\bn\d+\b/g, 'n')}`), nonces, bits };
      this.#strings.set(value, part);
    }
    return part;
  }

  #shapeOf(text: string): number {
    let shape = this.#shapes.get(text);
    if (shape === undefined) {
      shape = this.#shapes.size;
      this.#shapes.set(text, shape);
    }
    return shape;
  }
}
