import { type ColumnType, decodeKeyValues, encodeKeyValues, type Value } from '../../base/columnar/index.js';
import type { StateCodec } from './value-spec.js';

/** One value as a key of its own: never empty, ordered as the values are. */
export function keyCodec(type: ColumnType): StateCodec<unknown> {
  return {
    encode: (value) => encodeKeyValues([type], [value as Value]),
    decode: (bytes) => decodeKeyValues(bytes)[0] as Value,
  };
}
