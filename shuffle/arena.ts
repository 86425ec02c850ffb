import { assert, MillraceError, type SharedMemory, type SharedRegion } from '../base/index.js';
import { layoutUnknown } from './shuffle-errors.js';

/**
 * The memory all buffers of one shuffle service lie in: a header, one owner word per slot, and the slots.
 *
 *     words: magic | version | slotBytes | slots | first slot / 64 | last log number | whether the service spills to disk
 *     from byte 256: owner word of each slot: 0 free, else log number | FULL or STRANDED
 *     from `first slot`: slots
 *
 * Owner words change by compare-and-swap only, from any process. An *open* slot (owned, not FULL) may be written by its
 * owner at any time, also by one that was paused and declared dead; a FULL one never again, unless its owner first
 * takes the flag away, which fails when somebody gave the slot back. So FULL slots of the dead can be reused at once,
 * while open ones wait until the owner is known to be gone. When a writer is succeeded, its open slots are STRANDED: its
 * successor's log may refer to them, so even an owner who comes back and drops all he knew of can neither reuse nor
 * free them; when he closes they are FULL.
 */
export class Arena {
  readonly region: SharedRegion;
  readonly slotBytes: number;
  readonly slots: number;
  readonly #firstByte: number;

  private constructor(region: SharedRegion) {
    const { words } = region;
    if (words[0] !== MAGIC) throw layoutUnknown(region.name, 'it does not begin as an arena');
    if (words[1] !== VERSION) throw layoutUnknown(region.name, `its version is ${words[1]}, this one reads ${VERSION}`);
    this.region = region;
    this.slotBytes = words[2] as number;
    this.slots = words[3] as number;
    this.#firstByte = (words[4] as number) * 64;
  }

  /** Opens the service's arena, or lays it out. @throws `MEMORY_FULL`. */
  static async createOrOpen(memory: SharedMemory, geometry: ArenaGeometry): Promise<Arena> {
    if ((await memory.list()).includes(ARENA_REGION)) return Arena.open(memory, 'write');
    const { slotBytes, arenaBytes } = geometry;
    const slots = Math.floor(arenaBytes / slotBytes);
    if (slotBytes % 4096 !== 0 || slots < ARENA_SLOTS_MIN) {
      const message = `an arena of ${arenaBytes} bytes cannot hold ${ARENA_SLOTS_MIN} slots of ${slotBytes} bytes (multiples of 4096)`;
      throw new MillraceError('invalid', 'ARENA_GEOMETRY', message, { context: { arenaBytes, slotBytes } });
    }
    const firstByte = Math.ceil((OWNERS_BYTE + slots * 4) / 4096) * 4096;
    const region = await memory.create(ARENA_REGION, firstByte + slots * slotBytes);
    region.words.set([0, VERSION, slotBytes, slots, firstByte / 64, 0]);
    Atomics.store(region.words, 0, MAGIC);
    return new Arena(region);
  }

  static async open(memory: SharedMemory, access: 'read' | 'write'): Promise<Arena> {
    return new Arena(await memory.open(ARENA_REGION, access));
  }

  get bytes(): Uint8Array {
    return this.region.bytes;
  }

  get totalBytes(): number {
    return this.slots * this.slotBytes;
  }

  /** A number no other log of this arena ever had. */
  nextLogNumber(): number {
    return Atomics.add(this.region.words, 5, 1) + 1;
  }

  /** Whether the service moves data to disk when it is asked to. */
  get spills(): boolean {
    return Atomics.load(this.region.words, 6) !== 0;
  }

  setSpills(spills: boolean): void {
    Atomics.store(this.region.words, 6, spills ? 1 : 0);
  }

  /** Takes `count` adjacent free slots, open; -1 when there are none. */
  take(owner: number, count = 1): number {
    const { words } = this.region;
    let run = 0;
    for (let slot = 0; slot < this.slots; slot++) {
      run = Atomics.load(words, OWNERS + slot) === 0 ? run + 1 : 0;
      if (run < count) continue;
      const first = slot - count + 1;
      let taken = 0;
      while (taken < count && Atomics.compareExchange(words, OWNERS + first + taken, 0, owner) === 0) taken++;
      if (taken === count) return first;
      for (let i = 0; i < taken; i++) Atomics.store(words, OWNERS + first + i, 0);
      run = 0;
    }
    return -1;
  }

  /** The owner promises not to write into the slot any more. */
  markFull(slot: number, owner: number): void {
    Atomics.compareExchange(this.region.words, OWNERS + slot, owner, owner | FULL);
  }

  /** The same promise for a slot that became STRANDED: whoever knows what lies in it may give it to others then. */
  endStranded(slot: number, owner: number): void {
    Atomics.compareExchange(this.region.words, OWNERS + slot, owner | STRANDED, owner | FULL);
  }

  /** Opens an own FULL slot for writing again; false when it was given back meanwhile. */
  reopen(slot: number, owner: number): boolean {
    return Atomics.compareExchange(this.region.words, OWNERS + slot, owner | FULL, owner) === (owner | FULL);
  }

  /** Frees an own slot, open or FULL; does nothing when it is another's by now, or stranded. */
  give(slot: number, owner: number): void {
    const { words } = this.region;
    if (Atomics.compareExchange(words, OWNERS + slot, owner | FULL, 0) === (owner | FULL)) return;
    Atomics.compareExchange(words, OWNERS + slot, owner, 0);
  }

  /** Frees a FULL slot of `owner`; false when it is not, or no longer, one. */
  giveFull(slot: number, owner: number): boolean {
    return Atomics.compareExchange(this.region.words, OWNERS + slot, owner | FULL, 0) === (owner | FULL);
  }

  /** Frees any slot of an owner who is known to be gone. */
  reclaim(slot: number, owner: number): void {
    for (const flag of [FULL, STRANDED, 0]) {
      if (Atomics.compareExchange(this.region.words, OWNERS + slot, owner | flag, 0) === (owner | flag)) return;
    }
  }

  /** Hands a FULL slot to a successor's log; an open one stays, STRANDED, with the one who may still write into it. */
  handOver(slot: number, from: number, to: number): void {
    const { words } = this.region;
    for (;;) {
      if (Atomics.compareExchange(words, OWNERS + slot, from, from | STRANDED) === from) return;
      const word = Atomics.compareExchange(words, OWNERS + slot, from | FULL, to | FULL);
      // Reopened between the two: strand it now.
      if (word !== from) return;
    }
  }

  ownerOf(slot: number): { readonly owner: number; readonly full: boolean } {
    const word = Atomics.load(this.region.words, OWNERS + slot);
    return { owner: word & ~(FULL | STRANDED), full: (word & FULL) !== 0 };
  }

  /** Whether at least `count` slots are free; stops counting there. */
  hasFree(count: number): boolean {
    const { words } = this.region;
    let free = 0;
    for (let slot = 0; slot < this.slots; slot++) {
      if (Atomics.load(words, OWNERS + slot) === 0 && ++free >= count) return true;
    }
    return count <= 0;
  }

  freeSlots(): number {
    let free = 0;
    for (let slot = 0; slot < this.slots; slot++) if (this.ownerOf(slot).owner === 0) free++;
    return free;
  }

  offsetOf(slot: number): number {
    return this.#firstByte + slot * this.slotBytes;
  }

  slotAt(offset: number): number {
    const slot = Math.floor((offset - this.#firstByte) / this.slotBytes);
    assert(slot >= 0 && slot < this.slots, `offset ${offset} lies in the arena`);
    return slot;
  }

  /** Whether `[offset, offset + length)` lies inside the slots. */
  holds(offset: number, length: number): boolean {
    return offset >= this.#firstByte && offset + length <= this.#firstByte + this.totalBytes;
  }
}

export interface ArenaGeometry {
  readonly arenaBytes: number;
  readonly slotBytes: number;
}

export const ARENA_REGION = 'shuffle-arena';
export const ARENA_SLOTS_MIN = 8;
const MAGIC = 0x4d524152;
const VERSION = 2;
const OWNERS_BYTE = 256;
const OWNERS = OWNERS_BYTE / 4;
const FULL = 0x40000000;
const STRANDED = 0x20000000;
