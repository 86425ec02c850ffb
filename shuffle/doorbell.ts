/**
 * Wakes a sleeper in another thread or process. A sleeper leaves its address in a mapped word; whoever finds it there
 * takes it out and rings. A ring may come too often or, when `live` is false, not at all: sleepers then poll.
 */
export interface Doorbell {
  ring(address: number): void;
  /** Returns how to stop listening. */
  onRing(address: number, handler: () => void): () => void;
  /** False when rings may get lost (the service that forwards them is gone, or there is none). */
  readonly live: boolean;
}

/** For sleepers in one thread. */
export function directDoorbell(): Doorbell {
  const handlers = new Map<number, () => void>();
  return {
    ring: (address) => handlers.get(address)?.(),
    onRing(address, handler) {
      handlers.set(address, handler);
      return () => handlers.delete(address);
    },
    live: true,
  };
}

/** Rings nobody: for threads and processes that share memory only. */
export function noDoorbell(): Doorbell {
  return { ring: () => {}, onRing: () => () => {}, live: false };
}
