import type { SharedRegion } from '../base/index.js';

/**
 * Wakes a sleeper in another thread or process. A sleeper leaves its address in a mapped word; whoever finds it there
 * takes it out and rings. A ring may come too often or, when `live` is false, not at all: sleepers then poll.
 */
export interface Doorbell {
  ring(address: number): void;
  /** Several at once, which costs little more than one. */
  ringAll(addresses: readonly number[]): void;
  /** Returns how to stop listening. */
  onRing(address: number, handler: () => void): () => void;
  /** False when rings may get lost (the service that forwards them is gone, or there is none). */
  readonly live: boolean;
  /** Rings go through the event loop of the service: who is rung often does well to ask for fewer. */
  readonly far: boolean;
}

/** A region with one counter, from which addresses are drawn; apart from the arena, for consumers write to it. */
export const DOORBELLS_REGION = 'shuffle-doorbells';
/** The address of the service itself. */
export const MASTER_DOORBELL = 1;

/** An address nobody else listens on. */
export function nextDoorbell(doorbells: SharedRegion): number {
  return MASTER_DOORBELL + 1 + Atomics.add(doorbells.words, 0, 1);
}

/** For sleepers in one thread. */
export function directDoorbell(): Doorbell {
  const handlers = new Map<number, () => void>();
  const ring = (address: number) => handlers.get(address)?.();
  return {
    ring,
    ringAll: (addresses) => addresses.forEach(ring),
    onRing(address, handler) {
      handlers.set(address, handler);
      return () => handlers.delete(address);
    },
    live: true,
    far: false,
  };
}

/** Rings nobody: for threads and processes that share memory only. */
export function noDoorbell(): Doorbell {
  return { ring: () => {}, ringAll: () => {}, onRing: () => () => {}, live: false, far: false };
}
