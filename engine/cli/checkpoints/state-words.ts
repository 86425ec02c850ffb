import { decodeKeyValues } from '../../../base/columnar/index.js';
import type { EntryChange, SegmentState } from '../../../checkpoint/index.js';
import { describeEntry, describeStates } from '../../../statestore/index.js';

const TEXT_MAX = 60;

/** `lanes(4)`, `bytes`, `timers`, `operator`, or `?` for what another store wrote. */
export function kindOf(state: SegmentState): string {
  try {
    const [described] = describeStates([state]);
    return described?.kind === 'lanes' ? `lanes(${described.lanes})` : (described?.kind ?? '?');
  } catch {
    return '?';
  }
}

export interface ChangeWords {
  readonly keyGroup: number;
  readonly key: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** A changed entry, as far as the state store knows what it means; bytes in hex where it does not. */
export function changeWords(state: SegmentState, change: EntryChange): ChangeWords {
  const { keyGroup, before, after } = change;
  const value = (payload: Uint8Array | undefined) =>
    payload === undefined ? null : valueWords(state, change.sub, payload);
  return { keyGroup, key: keyWords(state, change.key, change.sub), before: value(before), after: value(after) };
}

function keyWords(state: SegmentState, key: Uint8Array, sub: Uint8Array): string {
  if (key.length === 0 && sub.length === 0) return '(whole)';
  let rest = sub.length === 0 ? '' : ` sub ${bytesWords(sub)}`;
  try {
    const { time, namespace, sub: own } = describeEntry(state, sub, undefined);
    if (time !== undefined) rest = ` time ${time} namespace ${namespace}`;
    else if (namespace !== undefined) rest = ` namespace ${namespace}`;
    else if (own === undefined) rest = '';
  } catch {
    // Of another store: as bytes.
  }
  return `${keyValues(key)}${rest}`;
}

function keyValues(key: Uint8Array): string {
  try {
    return decodeKeyValues(key)
      .map((value) => JSON.stringify(value))
      .join(', ');
  } catch {
    return bytesWords(key);
  }
}

function valueWords(state: SegmentState, sub: Uint8Array, payload: Uint8Array): string {
  if (kindOf(state) === 'operator') return bytesWords(payload);
  try {
    const { value } = describeEntry(state, sub, payload);
    if (value === undefined) return '';
    return value instanceof Uint8Array ? bytesWords(value) : cut(value.join(' '));
  } catch {
    return bytesWords(payload);
  }
}

function bytesWords(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('utf8');
  const isText = /^[\x20-\x7e]+$/.test(text);
  return isText ? cut(JSON.stringify(text)) : cut(`0x${Buffer.from(bytes).toString('hex')}`);
}

function cut(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX - 3)}...`;
}
