import type { SegmentReader, SegmentWriter } from '../checkpoint/index.js';
import { ByteHeap } from './byte-heap.js';
import { EntryTable, newLocation } from './entry-table.js';
import { Generations } from './generations.js';
import type { EntryIdentity, KeyedTable } from './keyed-table.js';
import { grownInt32, sharedInt32 } from './shared-arrays.js';
import type { ByteTable, VisitBytes } from './spi.js';
import { TableScan } from './table-scan.js';

// Words beside each entry: where its value is, and its neighbours among the entries of the same key (id + 1, 0 = none).
const VALUE_OFFSET = 0;
const VALUE_LENGTH = 1;
const NEXT = 2;
const PREVIOUS = 3;
const COLUMNS = 4;
const noSub = new Uint8Array(0);

/**
 * ByteTable in memory. Entries with a sub key are also chained from a head per key, so that the entries of one key are
 * found without a scan; plain value state pays nothing for that.
 */
export class MemoryByteTable implements ByteTable, KeyedTable {
  readonly kind = 'bytes';
  readonly lanes = 0;
  readonly hasSubKeys = true;
  // `entries` is taken by the SPI: all entries of one key.
  readonly table: EntryTable;
  #columns: Int32Array;
  #values = new ByteHeap();
  #valueBytes = 0;
  /** Keys that have sub keys, and of each the first entry of its chain (id + 1). Not part of snapshots. */
  readonly #heads = new EntryTable(new Generations(), 0);
  #firsts: Int32Array;
  /** Key and sub key of the entry being looked up, end to end. */
  #identity = new Uint8Array(64);
  readonly #scan: TableScan;

  constructor(generations: Generations) {
    this.table = new EntryTable(generations, 0);
    this.#columns = sharedInt32(this.table.capacity * COLUMNS);
    this.#firsts = sharedInt32(this.#heads.capacity);
    this.#scan = new TableScan(this.table);
  }

  get size(): number {
    return this.table.live;
  }

  get payloadBytes(): number {
    return this.#valueBytes;
  }

  get(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined {
    const id = this.#find(keyGroup, hash, key, sub);
    return id < 0 ? undefined : this.#valueOf(id);
  }

  put(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array, value: Uint8Array): void {
    const length = this.#join(key, sub);
    const mixed = this.table.mix(hash, this.#identity, key.length, length, 0, 0);
    let id = this.table.find(mixed, keyGroup, this.#identity, key.length, length, 0, 0);
    if (id >= 0 && !this.table.isRemoved(id)) {
      this.table.touch(id);
    } else {
      if (id >= 0) {
        this.table.revive(id);
      } else {
        id = this.table.insert(mixed, keyGroup, hash, this.#identity, key.length, length, 0, 0);
        const needed = this.table.capacity * COLUMNS;
        if (this.#columns.length < needed) this.#columns = grownInt32(this.#columns, needed);
      }
      this.#columns.fill(0, id * COLUMNS, (id + 1) * COLUMNS);
      if (sub.length > 0) this.#chain(id, keyGroup, hash, key);
    }
    this.#store(id, value);
  }

  remove(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): void {
    const id = this.#find(keyGroup, hash, key, sub);
    if (id >= 0) this.removeId(id);
  }

  entries(keyGroup: number, hash: number, key: Uint8Array): readonly (readonly [sub: Uint8Array, value: Uint8Array])[] {
    const found: [Uint8Array, Uint8Array][] = [];
    const plain = this.#find(keyGroup, hash, key, noSub);
    if (plain >= 0) found.push([new Uint8Array(0), this.#valueOf(plain)]);
    const head = this.#findHead(keyGroup, hash, key);
    if (head < 0) return found;
    for (
      let id = (this.#firsts[head] as number) - 1;
      id >= 0;
      id = (this.#columns[id * COLUMNS + NEXT] as number) - 1
    ) {
      found.push([this.table.subOf(id), this.#valueOf(id)]);
    }
    return found.sort((a, b) => Buffer.compare(a[0], b[0]));
  }

  scan(entriesMax: number, visit: VisitBytes): void {
    const table = this.table;
    const at = newLocation();
    this.#scan.run(entriesMax, (id) => {
      table.locate(id, at);
      const offset = this.#columns[id * COLUMNS + VALUE_OFFSET] as number;
      const value = this.#values.bytes.subarray(
        offset,
        offset + (this.#columns[id * COLUMNS + VALUE_LENGTH] as number),
      );
      const { bytes, start, split, end } = at;
      visit(table.keyGroupOf(id), table.hashOf(id), bytes.subarray(start, split), bytes.subarray(split, end), value);
    });
  }

  removeId(id: number): void {
    const keyed = this.table.hasSub(id);
    if (keyed) this.#unchain(id);
    const at = id * COLUMNS;
    const length = this.#columns[at + VALUE_LENGTH] as number;
    this.#columns[at + VALUE_LENGTH] = 0;
    this.table.remove(id);
    this.#free(length);
  }

  payloadLength(id: number): number {
    return this.#columns[id * COLUMNS + VALUE_LENGTH] as number;
  }

  writePayload(id: number, writer: SegmentWriter): void {
    const offset = this.#columns[id * COLUMNS + VALUE_OFFSET] as number;
    const length = this.#columns[id * COLUMNS + VALUE_LENGTH] as number;
    writer.bytes(this.#values.bytes, offset, offset + length);
  }

  restore(identity: EntryIdentity, reader: SegmentReader, payloadLength: number): void {
    const value = reader.bytes(payloadLength);
    this.put(identity.keyGroup, identity.hash, identity.key, identity.sub, value);
  }

  restoreRemoval(identity: EntryIdentity): void {
    this.remove(identity.keyGroup, identity.hash, identity.key, identity.sub);
  }

  /** Id of a live entry or -1. */
  #find(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): number {
    const length = this.#join(key, sub);
    const mixed = this.table.mix(hash, this.#identity, key.length, length, 0, 0);
    const id = this.table.find(mixed, keyGroup, this.#identity, key.length, length, 0, 0);
    return id >= 0 && this.table.isRemoved(id) ? -1 : id;
  }

  #findHead(keyGroup: number, hash: number, key: Uint8Array): number {
    const mixed = this.#heads.mix(hash, key, key.length, key.length, 0, 0);
    return this.#heads.find(mixed, keyGroup, key, key.length, key.length, 0, 0);
  }

  #join(key: Uint8Array, sub: Uint8Array): number {
    const length = key.length + sub.length;
    if (length > this.#identity.length) this.#identity = new Uint8Array(length * 2);
    this.#identity.set(key);
    if (sub.length > 0) this.#identity.set(sub, key.length);
    return length;
  }

  #valueOf(id: number): Uint8Array {
    const offset = this.#columns[id * COLUMNS + VALUE_OFFSET] as number;
    return this.#values.bytes.slice(offset, offset + (this.#columns[id * COLUMNS + VALUE_LENGTH] as number));
  }

  #store(id: number, value: Uint8Array): void {
    const at = id * COLUMNS;
    const old = this.#columns[at + VALUE_LENGTH] as number;
    if (value.length <= old) {
      // In place; what is left over is garbage like any other.
      this.#values.bytes.set(value, this.#columns[at + VALUE_OFFSET] as number);
      this.#columns[at + VALUE_LENGTH] = value.length;
      this.#valueBytes += value.length;
      this.#free(old - value.length, old);
      return;
    }
    this.#columns[at + VALUE_OFFSET] = this.#values.add(value, 0, value.length);
    this.#columns[at + VALUE_LENGTH] = value.length;
    this.#valueBytes += value.length;
    this.#free(old);
  }

  /** `bytes` of the heap are garbage now; `payload` fewer are alive. */
  #free(bytes: number, payload = bytes): void {
    this.#valueBytes -= payload;
    this.#values.free(bytes);
    if (!this.#values.isWasteful) return;
    const heap = this.#values.compacted();
    for (let id = 0; id < this.table.limit; id++) {
      if (!this.table.isLive(id)) continue;
      const at = id * COLUMNS;
      const offset = this.#columns[at + VALUE_OFFSET] as number;
      this.#columns[at + VALUE_OFFSET] = heap.add(
        this.#values.bytes,
        offset,
        this.#columns[at + VALUE_LENGTH] as number,
      );
    }
    this.#values = heap;
  }

  #chain(id: number, keyGroup: number, hash: number, key: Uint8Array): void {
    let head = this.#findHead(keyGroup, hash, key);
    if (head < 0) {
      const mixed = this.#heads.mix(hash, key, key.length, key.length, 0, 0);
      head = this.#heads.insert(mixed, keyGroup, hash, key, key.length, key.length, 0, 0);
      if (this.#firsts.length < this.#heads.capacity) this.#firsts = grownInt32(this.#firsts, this.#heads.capacity);
      this.#firsts[head] = 0;
    }
    const first = this.#firsts[head] as number;
    this.#columns[id * COLUMNS + NEXT] = first;
    if (first > 0) this.#columns[(first - 1) * COLUMNS + PREVIOUS] = id + 1;
    this.#firsts[head] = id + 1;
  }

  #unchain(id: number): void {
    const next = this.#columns[id * COLUMNS + NEXT] as number;
    const previous = this.#columns[id * COLUMNS + PREVIOUS] as number;
    if (next > 0) this.#columns[(next - 1) * COLUMNS + PREVIOUS] = previous;
    if (previous > 0) {
      this.#columns[(previous - 1) * COLUMNS + NEXT] = next;
      return;
    }
    const head = this.#findHead(this.table.keyGroupOf(id), this.table.hashOf(id), this.table.keyOf(id));
    if (next > 0) this.#firsts[head] = next;
    else this.#heads.remove(head);
  }
}
