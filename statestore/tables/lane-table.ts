import type { SegmentReader } from '../../checkpoint/index.js';
import type { KeyedRows, KeyGroupRange, LaneTable, VisitLanes } from '../spi.js';
import { BatchLookup } from './batch-lookup.js';
import type { BeneathTable } from './beneath-table.js';
import { EntryTable } from './entry-table.js';
import type { FrozenRecords } from './frozen-records.js';
import type { Generations } from './generations.js';
import type { EntryIdentity, KeyedTable } from './keyed-table.js';
import { highHalf, lowHalf } from './ordered-double.js';
import { newLocation } from './record-layout.js';
import { TableScan } from './table-scan.js';

/** LaneTable in memory: lanes stand in the records. A slot stays valid for longer than the SPI asks: until records move. */
export class MemoryLaneTable implements LaneTable, KeyedTable {
  readonly kind = 'lanes';
  readonly lanes: number;
  readonly table: EntryTable;
  created = false;
  readonly #lookup: BatchLookup;
  readonly #scan: TableScan;
  /** A key that stands among others, alone. */
  #key = new Uint8Array(64);
  readonly #beneath: BeneathTable | undefined;
  /** A namespace as a sub key of segments. */
  readonly #sub = new DataView(new ArrayBuffer(8));
  readonly #subBytes = new Uint8Array(this.#sub.buffer);

  constructor(generations: Generations, range: KeyGroupRange, lanes: number, beneath?: BeneathTable) {
    this.lanes = lanes;
    const shape = { range, doubles: 1, mayOmitDoubles: true, payloadWords: lanes * 2, aligned: true } as const;
    this.table = new EntryTable(generations, shape);
    this.#lookup = new BatchLookup(this.table);
    this.#scan = new TableScan(this.table);
    this.#beneath = beneath;
    if (beneath !== undefined) this.table.trackUse();
  }

  get values(): Float64Array {
    return this.table.doubles;
  }

  get size(): number {
    return this.table.live;
  }

  get payloadBytes(): number {
    return this.table.live * (this.lanes + 1) * 8;
  }

  get byteLength(): number {
    return this.table.byteLength;
  }

  upsert(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number {
    return this.#upsert(keyGroup, hash, key, key.length, namespace);
  }

  upsertAll(rows: KeyedRows, slots: Int32Array, created: Uint8Array): void {
    const { table } = this;
    // First, as it moves all records.
    if (rows.namespaces?.some((namespace) => namespace !== 0)) table.storeDoubles();
    created.fill(0, 0, rows.rows);
    for (let from = 0; from < rows.rows; ) {
      const to = this.#lookup.find(rows, from, slots);
      for (let row = from; row < to; row++) {
        if ((slots[row] as number) >= 0) continue;
        slots[row] = this.#upsertRow(rows, row);
        created[row] = this.created ? 1 : 0;
      }
      from = to;
    }
  }

  find(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number {
    const length = key.length;
    const canonical = namespace + 0;
    const mixed = this.table.mix(hash, key, length, length, canonical, 0);
    let id = this.table.find(mixed, keyGroup, key, length, length, canonical, 0);
    if (id === 0) id = this.#fetch(mixed, keyGroup, hash, key, length, canonical);
    return id === 0 || this.table.isRemoved(id) ? -1 : this.#slotOf(id);
  }

  touch(slot: number): void {
    this.table.touch(this.#idOf(slot));
  }

  remove(slot: number): void {
    this.table.remove(this.#idOf(slot));
  }

  keyOf(slot: number): Uint8Array {
    return this.table.keyOf(this.#idOf(slot));
  }

  scan(entriesMax: number, visit: VisitLanes): void {
    const { table } = this;
    const at = newLocation();
    this.#scan.run(entriesMax, (id) => {
      table.locate(id, at);
      const key = at.bytes.subarray(at.start, at.split);
      visit(this.#slotOf(id), table.keyGroupOf(id), table.hashOf(id), key, table.doubleOf(id, 0));
    });
  }

  get isWhole(): boolean {
    return this.#beneath?.isAsked !== true;
  }

  get usedBytes(): number {
    return this.table.usedBytes;
  }

  evict(examine: number): number {
    const evicted = this.table.choose(examine, (id) => this.table.forget(id));
    if (evicted > 0 && this.#beneath !== undefined) this.#beneath.isAsked = true;
    return evicted;
  }

  removeId(id: number): void {
    this.table.remove(id);
  }

  freeze(full: boolean): FrozenRecords | undefined {
    return this.table.freeze(full, undefined);
  }

  restore(identity: EntryIdentity, reader: SegmentReader): void {
    const slot = this.upsert(identity.keyGroup, identity.hash, identity.key, identity.first);
    for (let lane = 0; lane < this.lanes; lane++) this.values[slot + lane] = reader.f64();
  }

  restoreRemoval(identity: EntryIdentity): void {
    const slot = this.find(identity.keyGroup, identity.hash, identity.key, identity.first);
    if (slot >= 0) this.remove(slot);
  }

  /** `key`: of its bytes only so many. */
  #upsert(keyGroup: number, hash: number, key: Uint8Array, length: number, namespace: number): number {
    const { table } = this;
    // -0 and 0 are one namespace.
    const canonical = namespace + 0;
    const mixed = table.mix(hash, key, length, length, canonical, 0);
    let id = table.find(mixed, keyGroup, key, length, length, canonical, 0);
    if (id === 0) id = this.#fetch(mixed, keyGroup, hash, key, length, canonical);
    if (id > 0 && !table.isRemoved(id)) {
      this.created = false;
      table.touch(id);
      return this.#slotOf(id);
    }
    if (id > 0) table.revive(id);
    else id = table.insert(mixed, keyGroup, hash, key, length, length, canonical, 0);
    this.created = true;
    const slot = this.#slotOf(id);
    table.doubles.fill(0, slot, slot + this.lanes);
    return slot;
  }

  #upsertRow(rows: KeyedRows, row: number): number {
    const start = rows.offsets[row] as number;
    const length = (rows.offsets[row + 1] as number) - start;
    if (length > this.#key.length) this.#key = new Uint8Array(length * 2);
    for (let i = 0; i < length; i++) this.#key[i] = rows.keys[start + i] as number;
    const namespace = rows.namespaces === undefined ? 0 : (rows.namespaces[row] as number);
    return this.#upsert(rows.keyGroups[row] as number, rows.hashes[row] as number, this.#key, length, namespace);
  }

  /** Brings an entry that is not in memory there, from beneath. @returns its id, or 0. */
  #fetch(mixed: number, keyGroup: number, hash: number, key: Uint8Array, length: number, namespace: number): number {
    const beneath = this.#beneath;
    if (beneath === undefined) return 0;
    beneath.incoming();
    if (!beneath.isAsked) return 0;
    this.#sub.setUint32(0, highHalf(namespace));
    this.#sub.setUint32(4, lowHalf(namespace));
    if (!beneath.find(keyGroup, key.length === length ? key : key.subarray(0, length), this.#subBytes)) return 0;
    const { table } = this;
    const id = table.insert(mixed, keyGroup, hash, key, length, length, namespace, 0, true);
    const { bytes, start } = beneath;
    const at = this.#slotOf(id) * 8;
    for (let i = 0; i < this.lanes * 8; i++) table.bytes[at + i] = bytes[start + i] as number;
    return id;
  }

  /** Where the entry's lanes begin, in doubles. */
  #slotOf(id: number): number {
    const { stride, payloadAt } = this.table.layout;
    return (id * stride + payloadAt) >> 1;
  }

  #idOf(slot: number): number {
    const { stride, payloadAt } = this.table.layout;
    return ((slot * 2 - payloadAt) / stride) | 0;
  }
}
