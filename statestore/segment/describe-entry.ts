import { SegmentReader, type SegmentState } from '../../checkpoint/index.js';
import { readOrderedDouble } from '../tables/ordered-double.js';
import { describeStates, EXPIRES, hashBytes } from './segment-format.js';

/** An entry of a checkpoint segment, for tools that show it without restoring it. */
export interface EntryDescription {
  /** Of timers: when they fire. */
  readonly time?: number;
  /** Of lanes and timers. */
  readonly namespace?: number;
  /** Of bytes that have one. */
  readonly sub?: Uint8Array;
  /** Lanes as numbers; otherwise bytes, as the state's owner wrote them. Undefined for timers, and where there is no payload. */
  readonly value?: readonly number[] | Uint8Array;
}

/**
 * What an entry of this state says; `payload` undefined: its identity alone.
 * @throws MillraceError `SEGMENT_CORRUPT` (corrupt): it is no entry of such a state.
 */
export function describeEntry(state: SegmentState, sub: Uint8Array, payload: Uint8Array | undefined): EntryDescription {
  const [described] = describeStates([state]);
  const value =
    payload === undefined ? {} : readValue(payload, described?.kind === 'lanes' ? described.lanes : undefined);
  switch (described?.kind) {
    case 'lanes':
      return { namespace: readOrderedDouble(sub, 0), ...value };
    case 'timers':
      return { time: readOrderedDouble(sub, 0), namespace: readOrderedDouble(sub, 8) };
    default:
      return { ...(sub.length === 0 ? {} : { sub }), ...value };
  }
}

function readValue(payload: Uint8Array, lanes: number | undefined): Pick<EntryDescription, 'value'> {
  const reader = new SegmentReader(payload, hashBytes);
  if ((reader.u8() & EXPIRES) !== 0) reader.f64();
  if (lanes === undefined) return { value: payload.subarray(reader.position) };
  return { value: Array.from({ length: lanes }, () => reader.f64()) };
}
