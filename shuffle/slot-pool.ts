import type { Arena } from './arena.js';

/**
 * A writer's share of the arena. Buffers of all its subpartitions are appended to one current slot; a slot is written
 * again once nothing in it is referred to any more. One slot is kept aside for events, so that a barrier always finds
 * room (it is what makes trimming possible).
 */
export class SlotPool {
  readonly #arena: Arena;
  readonly #owner: number;
  /** References by slot; a run of slots counts at its first. */
  readonly #references = new Map<number, number>();
  /** Lengths of runs of more than one slot. */
  readonly #runs = new Map<number, number>();
  readonly #recyclable: number[] = [];
  #current = -1;
  #used = 0;
  #reserve = -1;
  #reserveUsed = 0;
  #owned = 0;

  constructor(arena: Arena, owner: number) {
    this.#arena = arena;
    this.#owner = owner;
    this.#refillReserve();
    // Taken at once, so that what others do not read can slow this writer down but never stop it.
    this.#current = this.#takeSlot();
  }

  /** Room for `length` bytes, aligned to 64; -1 when there is none. `store` must follow when the bytes are written. */
  allocate(length: number): number {
    if (length > this.#arena.slotBytes) return this.#allocateRun(Math.ceil(length / this.#arena.slotBytes));
    if (this.#reserve < 0) this.#refillReserve();
    if (!this.hasRoom(length) && !this.#openNext()) return -1;
    const offset = this.#arena.offsetOf(this.#current) + this.#used;
    this.#used += align(length);
    return offset;
  }

  /** Room in the slot that is kept for events. */
  allocateReserved(length: number): number {
    if (this.#reserve < 0 || this.#reserveUsed + length > this.#arena.slotBytes) return -1;
    const offset = this.#arena.offsetOf(this.#reserve) + this.#reserveUsed;
    this.#reserveUsed += align(length);
    return offset;
  }

  /** Whether `length` bytes fit without taking another slot. */
  hasRoom(length: number): boolean {
    return this.#current >= 0 && this.#used + length <= this.#arena.slotBytes;
  }

  /** Whether nothing in the current slot is referred to, so that it can be begun again when there is no other. */
  get isSpent(): boolean {
    return this.#current >= 0 && this.#used > 0 && (this.#references.get(this.#current) ?? 0) === 0;
  }

  /** Slots that can be written again at once. */
  get recyclable(): number {
    return this.#recyclable.length;
  }

  /** Slots held, whatever is in them. */
  get owned(): number {
    return this.#owned;
  }

  /** The bytes at `offset` are written; a run of slots takes no more. */
  stored(offset: number): void {
    const slot = this.#arena.slotAt(offset);
    const run = this.#runs.get(slot) ?? 0;
    for (let i = 0; i < run; i++) this.#arena.markFull(slot + i, this.#owner);
  }

  /** An index record refers to the bytes at `offset`. */
  refer(offset: number): void {
    const slot = this.#arena.slotAt(offset);
    this.#references.set(slot, (this.#references.get(slot) ?? 0) + 1);
  }

  /** Takes over what an earlier attempt stored in a slot that was handed to this owner. */
  adopt(offset: number, length: number): void {
    const slot = this.#arena.slotAt(offset);
    if (this.#arena.ownerOf(slot).owner !== this.#owner) return;
    const run = Math.ceil(length / this.#arena.slotBytes);
    if (!this.#references.has(slot)) this.#owned += run;
    if (run > 1) this.#runs.set(slot, run);
    this.refer(offset);
  }

  /** Frees what was handed over though nothing refers to it: recycled by the earlier attempt, or staged in vain. */
  giveUnadopted(): void {
    const adopted = new Set(this.#references.keys());
    for (const [slot, run] of this.#runs) for (let i = 1; i < run; i++) adopted.add(slot + i);
    for (let slot = 0; slot < this.#arena.slots; slot++) {
      if (!adopted.has(slot)) this.#arena.giveFull(slot, this.#owner);
    }
  }

  /** The record is gone; when it was the last of its slot, the slot may be written again. */
  drop(offset: number): void {
    const slot = this.#arena.slotAt(offset);
    const left = this.#references.get(slot);
    if (left === undefined) return;
    this.#references.set(slot, left - 1);
    if (left > 1) return;
    // An open slot is only ever appended to: a successor of this writer may still count on what lies in it.
    if (slot === this.#current) return;
    if (slot === this.#reserve) this.#beginReserveAgain();
    else this.#recycle(slot);
  }

  /** Ends all writing: what is referred to stays, FULL; the rest is given back. */
  close(): void {
    for (const slot of [this.#current, this.#reserve]) {
      if (slot < 0) continue;
      if ((this.#references.get(slot) ?? 0) > 0) this.#arena.markFull(slot, this.#owner);
      else this.#give(slot);
    }
    for (const slot of this.#recyclable) this.#give(slot);
    for (let slot = 0; slot < this.#arena.slots; slot++) this.#arena.endStranded(slot, this.#owner);
    this.#recyclable.length = 0;
    this.#current = -1;
    this.#reserve = -1;
  }

  #openNext(): boolean {
    let next = this.#takeSlot();
    if (next < 0 && this.isSpent) {
      this.#leave(this.#current);
      this.#current = -1;
      next = this.#takeSlot();
    }
    if (next < 0) return false;
    this.#leave(this.#current);
    this.#current = next;
    this.#used = 0;
    return true;
  }

  #takeSlot(): number {
    for (let slot = this.#recyclable.pop(); slot !== undefined; slot = this.#recyclable.pop()) {
      if (this.#arena.reopen(slot, this.#owner)) return slot;
      this.#owned--;
    }
    return this.#take(1);
  }

  #take(count: number): number {
    const slot = this.#arena.take(this.#owner, count);
    if (slot >= 0) this.#owned += count;
    return slot;
  }

  #give(slot: number): void {
    this.#owned--;
    this.#arena.give(slot, this.#owner);
  }

  #leave(slot: number): void {
    if (slot < 0) return;
    this.#arena.markFull(slot, this.#owner);
    if ((this.#references.get(slot) ?? 0) === 0) this.#recycle(slot);
  }

  #recycle(slot: number): void {
    this.#references.delete(slot);
    const run = this.#runs.get(slot);
    this.#runs.delete(slot);
    if (run === undefined && this.#recyclable.length < RECYCLABLE_MAX) {
      this.#recyclable.push(slot);
      return;
    }
    for (let i = 0; i < (run ?? 1); i++) this.#give(slot + i);
  }

  /** The same slot stays the reserve: were it given to data, a barrier might find none. */
  #beginReserveAgain(): void {
    this.#references.delete(this.#reserve);
    this.#arena.markFull(this.#reserve, this.#owner);
    this.#reserveUsed = 0;
    if (this.#arena.reopen(this.#reserve, this.#owner)) return;
    this.#owned--;
    this.#reserve = -1;
  }

  #refillReserve(): void {
    this.#reserve = this.#takeSlot();
    this.#reserveUsed = 0;
  }

  #allocateRun(count: number): number {
    const slot = this.#take(count);
    if (slot < 0) return -1;
    this.#runs.set(slot, count);
    return this.#arena.offsetOf(slot);
  }
}

/** So many own slots are kept warm (recycled pages are three times as fast as fresh ones); the rest are for others. */
const RECYCLABLE_MAX = 4;

function align(length: number): number {
  return Math.ceil(length / 64) * 64;
}
