import type { KeyedRows, LaneTable, VisitLanes } from '../spi.js';
import { doubleOfSub, doublesAsSub, hashOf, type StoredState, valueIn } from './stored-state.js';

/** An entry whose lanes are in memory. */
interface OpenEntry {
  readonly keyGroup: number;
  readonly hash: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  /** Its lanes may have been changed since they were written back. */
  isDirty: boolean;
}

/** Entries that are kept open; more only as long as their slots must be valid. */
const openMax = 16_384;

/**
 * LaneTable in an `EntryStorage`: lanes are changed in memory, where entries are opened that are asked for, and written back at
 * barriers and when there are many.
 */
export class StoredLaneTable implements LaneTable {
  readonly lanes: number;
  created = false;
  values: Float64Array;
  readonly #state: StoredState;
  /** By place: slot / lanes. Undefined: removed. */
  #open: (OpenEntry | undefined)[] = [];
  readonly #places = new Map<string, number>();

  constructor(state: StoredState) {
    this.lanes = state.lanes;
    this.#state = state;
    this.values = new Float64Array(64 * this.#width);
  }

  get size(): number {
    return this.#state.size;
  }

  /** A slot tells its entry also where there are no lanes. */
  get #width(): number {
    return Math.max(1, this.lanes);
  }

  upsert(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number {
    if (this.#open.length >= openMax) this.#closeAll();
    return this.#upsert(keyGroup, hash, key, namespace);
  }

  upsertAll(rows: KeyedRows, slots: Int32Array, created: Uint8Array): void {
    if (this.#open.length >= openMax) this.#closeAll();
    for (let row = 0; row < rows.rows; row++) {
      const key = rows.keys.slice(rows.offsets[row], rows.offsets[row + 1]);
      const [keyGroup, hash] = [rows.keyGroups[row] as number, rows.hashes[row] as number];
      slots[row] = this.#upsert(keyGroup, hash, key, rows.namespaces?.[row] ?? 0);
      created[row] = this.created ? 1 : 0;
    }
  }

  find(keyGroup: number, _hash: number, key: Uint8Array, namespace: number): number {
    const sub = doublesAsSub(namespace);
    return this.#places.get(nameOf(keyGroup, key, sub)) ?? this.#openStored(keyGroup, key, sub);
  }

  touch(slot: number): void {
    const entry = this.#entryAt(slot);
    if (entry.isDirty) return;
    entry.isDirty = true;
    // Now, so that it counts to the generation in which it changes.
    this.#writeBack(slot);
  }

  remove(slot: number): void {
    const { keyGroup, hash, key, sub } = this.#entryAt(slot);
    this.#state.remove(keyGroup, hash, key, sub);
    this.#places.delete(nameOf(keyGroup, key, sub));
    this.#open[slot / this.#width] = undefined;
  }

  keyOf(slot: number): Uint8Array {
    return this.#entryAt(slot).key.slice();
  }

  scan(entriesMax: number, visit: VisitLanes): void {
    if (this.#open.length >= openMax) this.#closeAll();
    for (const { keyGroup, key, sub, payload } of this.#state.scan(entriesMax)) {
      const hash = hashOf(payload);
      const namespace = doubleOfSub(sub, 0);
      visit(this.find(keyGroup, hash, key, namespace), keyGroup, hash, key, namespace);
    }
  }

  /** Before a barrier: what was changed in memory is in the storage. */
  save(): void {
    this.#open.forEach((entry, place) => {
      if (entry?.isDirty !== true) return;
      this.#writeBack(place * this.#width);
      entry.isDirty = false;
    });
  }

  #upsert(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number {
    const sub = doublesAsSub(namespace);
    let slot = this.#places.get(nameOf(keyGroup, key, sub)) ?? this.#openStored(keyGroup, key, sub);
    this.created = slot < 0;
    if (slot >= 0) {
      this.touch(slot);
      return slot;
    }
    slot = this.#add({ keyGroup, hash, key: key.slice(), sub, isDirty: true });
    this.values.fill(0, slot, slot + this.#width);
    this.#writeBack(slot);
    return slot;
  }

  /** The slot, or -1. */
  #openStored(keyGroup: number, key: Uint8Array, sub: Uint8Array): number {
    const payload = this.#state.payload(keyGroup, key, sub);
    if (payload === undefined) return -1;
    const slot = this.#add({ keyGroup, hash: hashOf(payload), key: key.slice(), sub, isDirty: false });
    const view = new DataView(valueIn(payload).buffer);
    for (let lane = 0; lane < this.lanes; lane++) this.values[slot + lane] = view.getFloat64(lane * 8, true);
    return slot;
  }

  #add(entry: OpenEntry): number {
    const slot = this.#open.length * this.#width;
    this.#open.push(entry);
    this.#places.set(nameOf(entry.keyGroup, entry.key, entry.sub), slot);
    if (slot + this.#width > this.values.length) {
      const grown = new Float64Array(this.values.length * 2);
      grown.set(this.values);
      this.values = grown;
    }
    return slot;
  }

  #writeBack(slot: number): void {
    const { keyGroup, hash, key, sub } = this.#entryAt(slot);
    const value = new Uint8Array(this.lanes * 8);
    const view = new DataView(value.buffer);
    for (let lane = 0; lane < this.lanes; lane++) {
      const number = this.values[slot + lane] as number;
      // NaN has one bit pattern in segments, whatever bits this one came with.
      if (Number.isNaN(number)) view.setUint32(lane * 8 + 4, 0x7ff80000, true);
      else view.setFloat64(lane * 8, number, true);
    }
    this.#state.put(keyGroup, hash, key, sub, value);
  }

  #closeAll(): void {
    this.save();
    this.#open = [];
    this.#places.clear();
  }

  #entryAt(slot: number): OpenEntry {
    return this.#open[slot / this.#width] as OpenEntry;
  }
}

function nameOf(keyGroup: number, key: Uint8Array, sub: Uint8Array): string {
  return `${keyGroup}/${Buffer.from(key).toString('latin1')}/${Buffer.from(sub).toString('latin1')}`;
}
