import { MillraceError } from '../../base/index.js';
import type { StateStore } from '../spi.js';

/** When entries of a state expire. Frozen plain data. */
export interface TtlSettings {
  /** Of task time (`KeyedStates`). */
  readonly ms: number;
  /** What an entry's life is counted from: its last write (default), or also its last read. */
  readonly refresh?: 'write' | 'read';
}

/** @throws MillraceError `STATE_TTL` (invalid) naming the setting: one that is misspelt would let entries live too long, or not long enough. */
function checkTtl(state: string, { ms, refresh = 'write', ...unknown }: TtlSettings): void {
  const wrong = (what: string) =>
    new MillraceError('invalid', 'STATE_TTL', `state ${JSON.stringify(state)}: ttl.${what}`);
  if (!(Number.isFinite(ms) && ms > 0)) throw wrong(`ms is ${ms}; it is a time in ms, above 0`);
  if (refresh !== 'write' && refresh !== 'read')
    throw wrong(`refresh is ${JSON.stringify(refresh)}, not write or read`);
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw wrong(`${name} is no setting; there are ms and refresh`);
}

/**
 * The clock of one state's entries. Each entry written while it runs has a stamp, the time at which it expires; at `now`
 * an entry is gone if
 *
 *     max(stamp or 0, since + ttl) <= now
 *
 * where `since` is when TTL was switched on for the state; it is stored with the state, and forgotten when TTL is off. So TTL
 * goes on and off again without touching an entry: those from before it was on live for one whole TTL from then on, and stamps
 * from an earlier time of TTL take nothing away that could be read just now.
 */
export class Expiry {
  readonly refreshesOnRead: boolean;
  readonly #ttlMs: number;
  readonly #now: () => number;
  readonly #record: (since: number) => void;
  /** NaN: not started yet. */
  #since = Number.NaN;

  /** `now` never goes back, is above 0, and is asked only within a step. */
  constructor(store: StateStore, state: string, ttl: TtlSettings | undefined, now: () => number) {
    if (ttl !== undefined) checkTtl(state, ttl);
    this.#ttlMs = ttl?.ms ?? 0;
    this.refreshesOnRead = ttl?.refresh === 'read';
    this.#now = now;
    const { first, last } = store.range;
    const own = `${state}:ttl:${first}-${last}`;
    const names = store.operatorNames().filter((name) => name.startsWith(`${state}:ttl:`));
    const known = names.map((name) => decodeTtlRecord(store.operatorValue(name).get() as Uint8Array));
    // After a rescale there may be several: the earliest, so that nothing comes back that was gone.
    const earliest = ttl === undefined ? undefined : known.sort((a, b) => a.since - b.since)[0];
    for (const name of names) if (name !== own || earliest === undefined) store.operatorValue(name).remove();
    this.#record = (since) => store.operatorValue(own).set(encodeTtlRecord({ since, ttlMs: this.#ttlMs }));
    if (earliest === undefined) return;
    this.#since = earliest.since;
    if (!names.includes(own) || known.length > 1 || earliest.ttlMs !== this.#ttlMs) this.#record(earliest.since);
  }

  /** To be called in the first step, before an entry is looked at: where TTL was off before, it is on from now. */
  start(): void {
    if (!this.isOn || !Number.isNaN(this.#since)) return;
    this.#since = this.#now();
    this.#record(this.#since);
  }

  get isOn(): boolean {
    return this.#ttlMs > 0;
  }

  /** For what is written now; 0: it does not expire. */
  stamp(): number {
    return this.isOn ? this.#now() + this.#ttlMs : 0;
  }

  isExpired(stamp: number): boolean {
    return this.isOn && expiryOf(stamp, { since: this.#since, ttlMs: this.#ttlMs }) <= this.#now();
  }
}

/** What is stored of a state's TTL while it is on; also for those who read entries without their job. */
export interface TtlRecord {
  readonly since: number;
  readonly ttlMs: number;
}

/** since f64 | ttl f64, little-endian. */
function encodeTtlRecord({ since, ttlMs }: TtlRecord): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setFloat64(0, since, true);
  view.setFloat64(8, ttlMs, true);
  return bytes;
}

export function decodeTtlRecord(bytes: Uint8Array): TtlRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { since: view.getFloat64(0, true), ttlMs: view.getFloat64(8, true) };
}

/** When an entry expires; +Infinity where TTL is off. */
export function expiryOf(stamp: number, record: TtlRecord | undefined): number {
  return record === undefined ? Number.POSITIVE_INFINITY : Math.max(stamp, record.since + record.ttlMs);
}
