import { compareBytes, SegmentReader, SegmentWriter } from '../../checkpoint/index.js';

/*
 * Entries whose keys are too long for a base share one record with all others that begin alike; its key is that beginning:
 *
 *     per entry, in order of the rests:  length varint | rest of the key | length varint | payload
 */

/** Where a payload stands in a bucket. */
export interface PayloadRange {
  readonly start: number;
  readonly end: number;
}

export function findInBucket(bucket: Uint8Array, rest: Uint8Array): PayloadRange | undefined {
  for (const entry of entriesOfBucket(bucket)) {
    if (compareBytes(entry.rest, rest) === 0) return entry;
  }
  return undefined;
}

/** Ascending by rest. */
export function* entriesOfBucket(bucket: Uint8Array): Generator<PayloadRange & { readonly rest: Uint8Array }> {
  const reader = new SegmentReader(bucket);
  while (reader.position < bucket.length) {
    const rest = reader.bytes(reader.varint());
    const length = reader.varint();
    const start = reader.position;
    reader.seek(start + length);
    yield { rest, start, end: start + length };
  }
}

/** The bucket with one entry replaced, or without it (`payload` undefined); undefined when none are left. */
export function bucketWith(
  bucket: Uint8Array | undefined,
  rest: Uint8Array,
  payload: Uint8Array | undefined,
): Uint8Array | undefined {
  const writer = new SegmentWriter((bucket?.length ?? 0) + rest.length + (payload?.length ?? 0) + 16);
  let pending = payload;
  const add = (key: Uint8Array, value: Uint8Array) => {
    writer.blob(key);
    writer.blob(value);
  };
  if (bucket !== undefined) {
    for (const entry of entriesOfBucket(bucket)) {
      const order = compareBytes(entry.rest, rest);
      if (order >= 0 && pending !== undefined) {
        add(rest, pending);
        pending = undefined;
      }
      if (order !== 0) add(entry.rest, bucket.subarray(entry.start, entry.end));
    }
  }
  if (pending !== undefined) add(rest, pending);
  return writer.length === 0 ? undefined : writer.written();
}
