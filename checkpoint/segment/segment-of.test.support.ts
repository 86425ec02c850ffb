import { SegmentBuilder } from './segment-builder.js';
import { SegmentCursor } from './segment-cursor.js';
import type { KeyGroups } from './segment-format.js';
import { LoadedSegment } from './stored-segment.js';

export interface TestEntry {
  readonly keyGroup: number;
  readonly key: string;
  readonly sub?: string;
  /** Undefined: a tombstone. */
  readonly value: string | undefined;
  readonly state?: number;
}

/** A small real segment; entries in order. States are `s0`, `s1`. */
export function segmentOf(
  entries: readonly TestEntry[],
  options: { readonly checkpointId?: number; readonly full?: boolean; readonly range?: KeyGroups } = {},
): Uint8Array {
  const { checkpointId = 1, full = false, range = { first: 0, last: 127 } } = options;
  const meta = Uint8Array.of(7);
  const builder = new SegmentBuilder({
    checkpointId,
    full,
    range,
    states: ['s0', 's1'].map((name) => ({ name, meta, value: undefined })),
  });
  for (const { keyGroup, key, sub = '', value, state = 0 } of entries) {
    const payload = Buffer.from(value ?? '');
    builder.add(keyGroup, state, Buffer.from(key), Buffer.from(sub), payload, value === undefined);
  }
  return builder.finish().bytes;
}

/** What a segment holds. */
export function entriesOf(bytes: Uint8Array): TestEntry[] {
  const segment = new LoadedSegment(bytes);
  const cursor = new SegmentCursor();
  const found: TestEntry[] = [];
  for (let i = 0; i < segment.index.blocks.length; i++) {
    cursor.load(segment.block(i));
    while (cursor.next()) {
      const { keyGroup, state, tombstone } = cursor;
      const key = Buffer.from(cursor.key).toString();
      const sub = Buffer.from(cursor.sub).toString();
      found.push({ keyGroup, state, key, sub, value: tombstone ? undefined : Buffer.from(cursor.payload).toString() });
    }
  }
  return found;
}
