import { describeStates, EXPIRES, hashBytes } from '../segment/segment-format.js';
import { stateIncompatible } from '../segment/state-incompatible.js';
import { AWAY, type ColdState, type ColdTable, FOUND } from '../view/cold-state.js';
import { stateAway } from '../view/state-away.js';
import type { KeyedKind } from './keyed-table.js';
import type { MemoryBudget } from './memory-budget.js';

const expiryBytes = 8;

/** What lies beneath one table: entries that are not in memory. What was found last is in its fields, until the next look. */
export class BeneathTable {
  /** Whether there may be entries that are not in memory; until then nobody needs to look. */
  isAsked: boolean;
  /** The table's own part of the payload. */
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  readonly #budget: MemoryBudget;
  readonly #cold: ColdState;
  readonly #table: ColdTable;
  readonly #name: string;
  readonly #kind: KeyedKind;
  readonly #lanes: number;
  /** The last one that was found to fit. */
  #meta: Uint8Array | undefined;

  constructor(
    { cold, budget, isAsked }: { readonly cold: ColdState; readonly budget: MemoryBudget; readonly isAsked: boolean },
    { name, kind, lanes }: { readonly name: string; readonly kind: KeyedKind; readonly lanes: number },
  ) {
    this.#budget = budget;
    this.#cold = cold;
    this.#table = cold.table(name);
    this.#name = name;
    this.#kind = kind;
    this.#lanes = lanes;
    this.isAsked = isAsked;
  }

  /** Before an entry comes into memory: others may have to go. */
  incoming(): void {
    this.#budget.incoming();
  }

  /**
   * Whether there is such an entry. @throws MillraceError `STATE_AWAY` (unavailable) when nobody waited for its key,
   * `STATE_INCOMPATIBLE` (invalid).
   */
  find(keyGroup: number, key: Uint8Array, sub: Uint8Array): boolean {
    const table = this.#table;
    const answer = table.find(keyGroup, key, sub);
    if (answer === AWAY) throw stateAway(this.#name, keyGroup);
    if (answer !== FOUND) return false;
    this.#show(table.meta, table.bytes, table.start, table.end);
    return true;
  }

  /** Calls back for each entry of a key, its payload in the fields. */
  entriesOf(keyGroup: number, key: Uint8Array, visit: (sub: Uint8Array) => void): void {
    for (const { meta, sub, payload } of this.#cold.entriesOf(this.#name, keyGroup, key)) {
      this.#show(meta, payload, 0, payload.length);
      visit(sub);
    }
  }

  #show(meta: Uint8Array, bytes: Uint8Array, start: number, end: number): void {
    if (meta !== this.#meta) this.#check(meta);
    const flagsAt = start + hashBytes;
    this.bytes = bytes;
    this.start = flagsAt + 1 + (((bytes[flagsAt] as number) & EXPIRES) !== 0 ? expiryBytes : 0);
    this.end = end;
  }

  #check(meta: Uint8Array): void {
    const [state] = describeStates([{ name: this.#name, meta, value: undefined }]);
    if (state?.kind !== this.#kind || state.lanes !== this.#lanes) {
      const was = `${state?.kind} of width ${state?.lanes}`;
      throw stateIncompatible(this.#name, `is ${was}, the job reads ${this.#kind} of width ${this.#lanes}`);
    }
    this.#meta = meta;
  }
}
