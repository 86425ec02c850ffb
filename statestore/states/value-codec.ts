import { type CompiledSchema, compileSchema, decodeRow, encodeRow } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import { evolution, type FieldDefaults } from './schema-evolution.js';
import { fingerprintOf } from './state-schema.js';
import { isCodec, type StateCodec, shapeOf, type ValueShape, type ValueSpec } from './value-spec.js';

/** Writes the values of one state under its current shape, and reads those written under it and every shape before it. */
export class ValueCodec<T> {
  /** Of the current shape: stands in each entry. */
  readonly fingerprint: number;
  readonly #state: string;
  readonly #current: StateCodec<T>;
  readonly #readers = new Map<number, (bytes: Uint8Array) => T>();

  /** @throws MillraceError `STATE_INCOMPATIBLE` (invalid) when values of an older shape cannot be read. */
  constructor(state: string, spec: ValueSpec, older: readonly ValueShape[], defaults: FieldDefaults = {}) {
    const shape = shapeOf(spec);
    this.#state = state;
    this.fingerprint = fingerprintOf(shape);
    this.#current = (isCodec(spec) ? spec : rowCodec(shape)) as StateCodec<T>;
    for (const old of older) {
      const evolve = evolution(state, old, shape, defaults);
      const codec = 'codec' in old ? (this.#current as StateCodec<unknown>) : rowCodec(old);
      this.#readers.set(fingerprintOf(old), (bytes) => evolve(codec.decode(bytes)) as T);
    }
    this.#readers.set(this.fingerprint, (bytes) => this.#current.decode(bytes));
  }

  encode(value: T): Uint8Array {
    return this.#current.encode(value);
  }

  /** @throws MillraceError `STATE_CORRUPT` (corrupt) when nothing is known of the shape. */
  decode(fingerprint: number, bytes: Uint8Array): T {
    const read = fingerprint === this.fingerprint ? undefined : this.#readers.get(fingerprint);
    if (read !== undefined) return read(bytes);
    if (fingerprint === this.fingerprint) return this.#current.decode(bytes);
    throw new MillraceError(
      'corrupt',
      'STATE_CORRUPT',
      `state ${JSON.stringify(this.#state)} has an entry of a schema ${fingerprint.toString(16)} that is not stored with it`,
      { context: { state: this.#state } },
    );
  }
}

/** Rows of named fields; a single value is a row of one field. */
function rowCodec(shape: ValueShape): StateCodec<unknown> {
  if ('fields' in shape) {
    const schema: CompiledSchema = compileSchema(shape.fields);
    return { encode: (row) => encodeRow(schema, row as never), decode: (bytes) => decodeRow(schema, bytes) };
  }
  if (!('type' in shape)) throw new MillraceError('internal', 'STATE_CODEC', 'a codec has no rows');
  const schema = compileSchema({ value: shape.type });
  return {
    encode: (value) => encodeRow(schema, { value } as never),
    decode: (bytes) => decodeRow(schema, bytes).value,
  };
}
