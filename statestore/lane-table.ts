import type { SegmentReader, SegmentWriter } from '../checkpoint/index.js';
import { EntryTable, newLocation } from './entry-table.js';
import type { Generations } from './generations.js';
import type { EntryIdentity, KeyedTable } from './keyed-table.js';
import { grownFloat64, sharedFloat64 } from './shared-arrays.js';
import type { LaneTable, VisitLanes } from './spi.js';
import { TableScan } from './table-scan.js';

/** LaneTable in memory. A slot is an entry id: it stays valid until the entry is removed, which is more than the SPI asks. */
export class MemoryLaneTable implements LaneTable, KeyedTable {
  readonly kind = 'lanes';
  readonly hasSubKeys = false;
  readonly lanes: number;
  readonly table: EntryTable;
  values: Float64Array;
  created = false;
  readonly #scan: TableScan;

  constructor(generations: Generations, lanes: number) {
    this.lanes = lanes;
    this.table = new EntryTable(generations, 1);
    this.values = sharedFloat64(this.table.capacity * lanes);
    this.#scan = new TableScan(this.table);
  }

  get size(): number {
    return this.table.live;
  }

  get payloadBytes(): number {
    return this.table.live * (this.lanes + 1) * 8;
  }

  upsert(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number {
    const table = this.table;
    const length = key.length;
    // -0 and 0 are one namespace.
    const canonical = namespace + 0;
    const mixed = table.mix(hash, key, length, length, canonical, 0);
    let slot = table.find(mixed, keyGroup, key, length, length, canonical, 0);
    if (slot >= 0 && !table.isRemoved(slot)) {
      this.created = false;
      table.touch(slot);
      return slot;
    }
    if (slot >= 0) {
      table.revive(slot);
    } else {
      slot = table.insert(mixed, keyGroup, hash, key, length, length, canonical, 0);
      const needed = table.capacity * this.lanes;
      if (this.values.length < needed) this.values = grownFloat64(this.values, needed);
    }
    this.values.fill(0, slot * this.lanes, (slot + 1) * this.lanes);
    this.created = true;
    return slot;
  }

  find(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number {
    const length = key.length;
    const canonical = namespace + 0;
    const mixed = this.table.mix(hash, key, length, length, canonical, 0);
    const slot = this.table.find(mixed, keyGroup, key, length, length, canonical, 0);
    return slot >= 0 && this.table.isRemoved(slot) ? -1 : slot;
  }

  touch(slot: number): void {
    this.table.touch(slot);
  }

  remove(slot: number): void {
    this.table.remove(slot);
  }

  keyOf(slot: number): Uint8Array {
    return this.table.keyOf(slot);
  }

  scan(entriesMax: number, visit: VisitLanes): void {
    const table = this.table;
    const at = newLocation();
    this.#scan.run(entriesMax, (id) => {
      table.locate(id, at);
      visit(id, table.keyGroupOf(id), table.hashOf(id), at.bytes.subarray(at.start, at.split), table.doubleOf(id, 0));
    });
  }

  removeId(id: number): void {
    this.table.remove(id);
  }

  payloadLength(): number {
    return this.lanes * 8;
  }

  writePayload(id: number, writer: SegmentWriter): void {
    for (let lane = 0; lane < this.lanes; lane++) writer.f64(this.values[id * this.lanes + lane] as number);
  }

  restore(identity: EntryIdentity, reader: SegmentReader): void {
    const slot = this.upsert(identity.keyGroup, identity.hash, identity.key, identity.first);
    for (let lane = 0; lane < this.lanes; lane++) this.values[slot * this.lanes + lane] = reader.f64();
  }

  restoreRemoval(identity: EntryIdentity): void {
    const slot = this.find(identity.keyGroup, identity.hash, identity.key, identity.first);
    if (slot >= 0) this.remove(slot);
  }
}
