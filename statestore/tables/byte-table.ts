import type { SegmentReader } from '../../checkpoint/index.js';
import type { ByteTable, KeyGroupRange, VisitBytes } from '../spi.js';
import type { BeneathTable } from './beneath-table.js';
import { ByteHeap } from './byte-heap.js';
import { EntryTable } from './entry-table.js';
import type { FrozenRecords } from './frozen-records.js';
import { Generations } from './generations.js';
import type { EntryIdentity, KeyedTable } from './keyed-table.js';
import { newLocation, VALUE_LENGTH, VALUE_OFFSET, valueWords } from './record-layout.js';
import { TableScan } from './table-scan.js';

const noSub = new Uint8Array(0);

/**
 * ByteTable in memory: values stand in a heap. Entries with a sub key are also chained from a head per key, so that the
 * entries of one key are found without a scan; plain value state pays nothing for that.
 */
export class MemoryByteTable implements ByteTable, KeyedTable {
  readonly kind = 'bytes';
  readonly lanes = 0;
  // `entries` is taken by the SPI: all entries of one key.
  readonly table: EntryTable;
  readonly #generations: Generations;
  #values = new ByteHeap();
  #valueBytes = 0;
  /** Keys that have sub keys; the payload is the first entry of its chain, 0 = none. Not part of snapshots. */
  readonly #heads: EntryTable;
  /** By id: next and previous entry of the same key, 0 = none. */
  #chain = new Int32Array(0);
  /** Key and sub key of the entry being looked up, end to end. */
  #identity = new Uint8Array(64);
  readonly #scan: TableScan;
  readonly #beneath: BeneathTable | undefined;

  constructor(generations: Generations, range: KeyGroupRange, beneath?: BeneathTable) {
    this.#generations = generations;
    this.table = new EntryTable(generations, { range, doubles: 0, payloadWords: valueWords, subKeys: true });
    this.#heads = new EntryTable(new Generations(), { range, doubles: 0, payloadWords: 1 });
    this.#scan = new TableScan(this.table);
    this.#beneath = beneath;
    if (beneath !== undefined) this.table.trackUse();
  }

  get size(): number {
    return this.table.live;
  }

  get payloadBytes(): number {
    return this.#valueBytes;
  }

  get byteLength(): number {
    return this.table.byteLength + this.#values.capacityBytes + this.#heads.byteLength + this.#chain.byteLength;
  }

  get(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined {
    const id = this.#find(keyGroup, hash, key, sub);
    return id === 0 ? undefined : this.#valueOf(id);
  }

  put(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array, value: Uint8Array): void {
    const { table } = this;
    this.#beneath?.incoming();
    const length = this.#join(key, sub);
    const mixed = table.mix(hash, this.#identity, key.length, length, 0, 0);
    let id = table.find(mixed, keyGroup, this.#identity, key.length, length, 0, 0);
    if (id === 0) id = this.#fetch(mixed, keyGroup, hash, key, sub);
    if (id > 0 && !table.isRemoved(id)) {
      // What stood there at a barrier may still be read: then the new value is put elsewhere.
      const frozen = table.touch(id) && this.#generations.isWriting;
      this.#store(id, value, !frozen);
      return;
    }
    if (id > 0) table.revive(id);
    else id = table.insert(mixed, keyGroup, hash, this.#identity, key.length, length, 0, 0);
    if (sub.length > 0) this.#link(id, keyGroup, hash, key);
    table.words[this.#payloadAt(id) + VALUE_LENGTH] = 0;
    this.#store(id, value, false);
  }

  remove(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): void {
    const id = this.#find(keyGroup, hash, key, sub);
    if (id > 0) this.removeId(id);
  }

  entries(keyGroup: number, hash: number, key: Uint8Array): readonly (readonly [sub: Uint8Array, value: Uint8Array])[] {
    const found: [Uint8Array, Uint8Array][] = [];
    const plain = this.#find(keyGroup, hash, key, noSub);
    if (plain > 0) found.push([new Uint8Array(0), this.#valueOf(plain)]);
    const head = this.#findHead(keyGroup, hash, key);
    for (let id = head === 0 ? 0 : this.#firstOf(head); id > 0; id = this.#chain[id * 2] as number) {
      found.push([this.table.subOf(id), this.#valueOf(id)]);
    }
    if (this.#beneath?.isAsked === true) this.#addBeneath(found, keyGroup, hash, key, this.#beneath);
    return found.sort((a, b) => Buffer.compare(a[0], b[0]));
  }

  scan(entriesMax: number, visit: VisitBytes): void {
    const { table } = this;
    const at = newLocation();
    this.#scan.run(entriesMax, (id) => {
      table.locate(id, at);
      const payload = this.#payloadAt(id);
      const offset = table.words[payload + VALUE_OFFSET] as number;
      const value = this.#values.bytes.subarray(offset, offset + (table.words[payload + VALUE_LENGTH] as number));
      const { bytes, start, split, end } = at;
      visit(table.keyGroupOf(id), table.hashOf(id), bytes.subarray(start, split), bytes.subarray(split, end), value);
    });
  }

  get isWhole(): boolean {
    return this.#beneath?.isAsked !== true;
  }

  get usedBytes(): number {
    return this.table.usedBytes + this.#values.usedBytes + this.#heads.usedBytes + this.#chain.byteLength;
  }

  evict(examine: number): number {
    const evicted = this.table.choose(examine, (id) => {
      if (this.table.hasSub(id)) this.#unlink(id);
      const length = this.table.words[this.#payloadAt(id) + VALUE_LENGTH] as number;
      this.table.forget(id);
      this.#free(length);
    });
    if (evicted > 0 && this.#beneath !== undefined) this.#beneath.isAsked = true;
    return evicted;
  }

  removeId(id: number): void {
    if (this.table.hasSub(id)) this.#unlink(id);
    this.table.touch(id);
    const at = this.#payloadAt(id) + VALUE_LENGTH;
    const length = this.table.words[at] as number;
    this.table.words[at] = 0;
    this.table.remove(id);
    this.#free(length);
  }

  freeze(full: boolean): FrozenRecords | undefined {
    return this.table.freeze(full, this.#values.bytes);
  }

  restore(identity: EntryIdentity, reader: SegmentReader, payloadLength: number): void {
    const value = reader.bytes(payloadLength);
    this.put(identity.keyGroup, identity.hash, identity.key, identity.sub, value);
  }

  restoreRemoval(identity: EntryIdentity): void {
    this.remove(identity.keyGroup, identity.hash, identity.key, identity.sub);
  }

  /** Id of a live entry or 0. */
  #find(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): number {
    const length = this.#join(key, sub);
    const mixed = this.table.mix(hash, this.#identity, key.length, length, 0, 0);
    let id = this.table.find(mixed, keyGroup, this.#identity, key.length, length, 0, 0);
    if (id === 0) id = this.#fetch(mixed, keyGroup, hash, key, sub);
    return id > 0 && this.table.isRemoved(id) ? 0 : id;
  }

  /** Brings an entry that is not in memory there, from beneath. @returns its id, or 0. */
  #fetch(mixed: number, keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): number {
    const beneath = this.#beneath;
    if (beneath === undefined) return 0;
    beneath.incoming();
    if (!beneath.isAsked || !beneath.find(keyGroup, key, sub)) return 0;
    const length = this.#join(key, sub);
    const id = this.table.insert(mixed, keyGroup, hash, this.#identity, key.length, length, 0, 0, true);
    if (sub.length > 0) this.#link(id, keyGroup, hash, key);
    this.table.words[this.#payloadAt(id) + VALUE_LENGTH] = 0;
    this.#store(id, beneath.bytes.subarray(beneath.start, beneath.end), false);
    return id;
  }

  /** Entries of a key that are not in memory, and not known there to be removed. They stay where they are. */
  #addBeneath(
    found: [Uint8Array, Uint8Array][],
    keyGroup: number,
    hash: number,
    key: Uint8Array,
    beneath: BeneathTable,
  ): void {
    beneath.entriesOf(keyGroup, key, (sub) => {
      if (sub.length === 0) return;
      const length = this.#join(key, sub);
      const mixed = this.table.mix(hash, this.#identity, key.length, length, 0, 0);
      if (this.table.find(mixed, keyGroup, this.#identity, key.length, length, 0, 0) > 0) return;
      found.push([sub.slice(), beneath.bytes.slice(beneath.start, beneath.end)]);
    });
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

  #payloadAt(id: number): number {
    const { stride, payloadAt } = this.table.layout;
    return id * stride + payloadAt;
  }

  #valueOf(id: number): Uint8Array {
    const at = this.#payloadAt(id);
    const offset = this.table.words[at + VALUE_OFFSET] as number;
    return this.#values.bytes.slice(offset, offset + (this.table.words[at + VALUE_LENGTH] as number));
  }

  #store(id: number, value: Uint8Array, inPlace: boolean): void {
    const at = this.#payloadAt(id);
    const { words } = this.table;
    const old = words[at + VALUE_LENGTH] as number;
    words[at + VALUE_LENGTH] = value.length;
    this.#valueBytes += value.length;
    if (inPlace && value.length <= old) {
      // What is left over is garbage like any other.
      this.#values.bytes.set(value, words[at + VALUE_OFFSET] as number);
      this.#free(old - value.length, old);
    } else {
      words[at + VALUE_OFFSET] = this.#values.add(value, 0, value.length);
      this.#free(old);
    }
  }

  /** `bytes` of the heap are garbage now; `payload` fewer are alive. */
  #free(bytes: number, payload = bytes): void {
    this.#valueBytes -= payload;
    this.#values.free(bytes);
    if (!this.#values.isWasteful || this.#generations.isWriting) return;
    const heap = this.#values.compacted();
    const { words } = this.table;
    for (let id = 1; id < this.table.limit; id++) {
      if (!this.table.isLive(id)) continue;
      const at = this.#payloadAt(id);
      words[at + VALUE_OFFSET] = heap.add(
        this.#values.bytes,
        words[at + VALUE_OFFSET] as number,
        words[at + VALUE_LENGTH] as number,
      );
    }
    this.#values = heap;
  }

  #firstOf(head: number): number {
    return this.#heads.words[head * this.#heads.layout.stride + this.#heads.layout.payloadAt] as number;
  }

  #setFirst(head: number, id: number): void {
    this.#heads.words[head * this.#heads.layout.stride + this.#heads.layout.payloadAt] = id;
  }

  #link(id: number, keyGroup: number, hash: number, key: Uint8Array): void {
    let head = this.#findHead(keyGroup, hash, key);
    if (head === 0) {
      const mixed = this.#heads.mix(hash, key, key.length, key.length, 0, 0);
      head = this.#heads.insert(mixed, keyGroup, hash, key, key.length, key.length, 0, 0);
      this.#setFirst(head, 0);
    }
    if (this.#chain.length <= id * 2 + 1) {
      const chain = new Int32Array(Math.max(64, id * 3));
      chain.set(this.#chain);
      this.#chain = chain;
    }
    const first = this.#firstOf(head);
    this.#chain[id * 2] = first;
    this.#chain[id * 2 + 1] = 0;
    if (first > 0) this.#chain[first * 2 + 1] = id;
    this.#setFirst(head, id);
  }

  #unlink(id: number): void {
    const next = this.#chain[id * 2] as number;
    const previous = this.#chain[id * 2 + 1] as number;
    if (next > 0) this.#chain[next * 2 + 1] = previous;
    if (previous > 0) {
      this.#chain[previous * 2] = next;
      return;
    }
    const head = this.#findHead(this.table.keyGroupOf(id), this.table.hashOf(id), this.table.keyOf(id));
    if (next > 0) this.#setFirst(head, next);
    else this.#heads.remove(head);
  }
}
