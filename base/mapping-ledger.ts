import { MillraceError } from './errors.js';
import { loadMmap } from './mmap.js';

const ENTRIES_MAX = 16_384;

/**
 * The mappings of one worker thread, written where its host can read them. A thread cannot unmap its own memory (its
 * views live as long as it does) and may be terminated at any point, so the host does it once the thread has exited:
 *
 *     const ledger = mappingLedger();                                      // host
 *     const worker = new Worker(file, { workerData: { ledger } });
 *     const memory = mappedMemory({ folder, ledger: workerData.ledger });  // thread
 *     worker.once('exit', () => unmapLedger(ledger));                      // host
 *
 * Layout: u64 count, then (u64 address, u64 length) each.
 */
export function mappingLedger(entriesMax = ENTRIES_MAX): SharedArrayBuffer {
  return new SharedArrayBuffer(8 + 16 * entriesMax);
}

/** @throws MillraceError `MAPPINGS_EXHAUSTED` (unavailable) when the thread has used up its ledger. */
export function recordMapping(ledger: SharedArrayBuffer, address: bigint, length: number): void {
  const longs = new BigUint64Array(ledger);
  const count = Number(Atomics.load(longs, 0));
  if (2 + 2 * count >= longs.length) {
    throw new MillraceError('unavailable', 'MAPPINGS_EXHAUSTED', `one thread made ${count} mappings: start a new one`);
  }
  longs[1 + 2 * count] = address;
  longs[2 + 2 * count] = BigInt(length);
  Atomics.store(longs, 0, BigInt(count + 1));
}

/** Unmaps all that is recorded. Only after the thread has exited: a live view of it would crash the process. */
export function unmapLedger(ledger: SharedArrayBuffer): void {
  const longs = new BigUint64Array(ledger);
  const count = Number(Atomics.exchange(longs, 0, 0n));
  for (let i = 0; i < count; i++) {
    loadMmap().unmap(longs[1 + 2 * i] as bigint, Number(longs[2 + 2 * i]));
  }
}
