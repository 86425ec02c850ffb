import { decodeKeyValues } from '../../base/columnar/index.js';
import { expiryOfCell, fingerprintOfCell, valueOfCell } from '../states/cell.js';
import type { StateSchema } from '../states/state-schema.js';
import { ValueCodec } from '../states/value-codec.js';
import type { ValueShape } from '../states/value-spec.js';

/** Anything that JSON can say. (Spelt out, the type takes the compiler for ever where it is narrowed.) */
export type Json = unknown;

/** JSON has no other numbers: these become text. */
export function jsonOf(value: unknown): Json {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (value === undefined) return null;
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') };
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, jsonOf(field)]));
  }
  return value;
}

/** The values of a key's columns; its bytes where they are not those of a key. */
export function keyWords(key: Uint8Array): Json {
  try {
    return jsonOf(decodeKeyValues(key));
  } catch {
    return jsonOf(key);
  }
}

/** An entry's value as it was written, with its stamp (0: none). */
export interface ReadCell {
  readonly value: Json;
  readonly stamp: number;
}

/** Reads the values of one state under the shapes they were written with. Custom codecs' are shown as bytes, JSON's as JSON. */
export class CellWords {
  readonly #schemas: ReadonlyMap<number, StateSchema>;
  readonly #codecs = new Map<number, ValueCodec<unknown>>();
  readonly #state: string;

  constructor(state: string, schemas: ReadonlyMap<number, StateSchema>) {
    this.#state = state;
    this.#schemas = schemas;
  }

  read(cell: Uint8Array): ReadCell {
    return { value: this.value(fingerprintOfCell(cell), valueOfCell(cell)), stamp: expiryOfCell(cell) };
  }

  value(fingerprint: number, bytes: Uint8Array): Json {
    const shape = this.#schemas.get(fingerprint)?.value;
    if (shape === undefined || 'aggregates' in shape) return jsonOf(bytes);
    if ('codec' in shape)
      return shape.codec === 'json' ? JSON.parse(Buffer.from(bytes).toString('utf8')) : jsonOf(bytes);
    return jsonOf(this.#codec(fingerprint, shape).decode(fingerprint, bytes));
  }

  #codec(fingerprint: number, shape: Exclude<ValueShape, { readonly codec: string }>): ValueCodec<unknown> {
    let codec = this.#codecs.get(fingerprint);
    if (codec === undefined) {
      codec = new ValueCodec(this.#state, 'type' in shape ? shape.type : shape.fields, []);
      this.#codecs.set(fingerprint, codec);
    }
    return codec;
  }
}
