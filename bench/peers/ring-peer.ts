import { workerData } from 'node:worker_threads';
import { mappedMemory, xxh64 } from '../../base/index.js';
import { servePeer } from '../peer.js';

/**
 * The limit of a shuffle in shared memory: a bare ring of slots with one producer and one consumer; memcpy and checksum
 * on one side, the same checksum on the other; nothing else. In a process it maps a region, in a thread it is given one.
 *
 *     words 0, 16   buffers written, buffers read
 *     then          one checksum (8 bytes) a slot, then the slots
 */
const WRITTEN = 0;
const READ = 16;
const HEADER_BYTES = 128;
const SPINS_MAX = 200;
const SLEEP_MS = 0.1;

/** Nobody wakes it. */
const asleep = new Int32Array(new SharedArrayBuffer(4));

interface Ring {
  readonly words: Int32Array;
  readonly checksums: BigUint64Array;
  readonly slots: readonly Uint8Array[];
}

let ring: Ring | undefined;

servePeer({
  async open(given: { folder: string; name: string; slots: number; slotBytes: number }): Promise<void> {
    const memory = workerData as SharedArrayBuffer | undefined;
    const buffer = memory ?? (await mappedMemory({ folder: given.folder }).open(given.name, 'write')).bytes.buffer;
    const slotsAt = HEADER_BYTES + given.slots * 8;
    ring = {
      words: new Int32Array(buffer, 0, HEADER_BYTES / 4),
      checksums: new BigUint64Array(buffer, HEADER_BYTES, given.slots),
      slots: Array.from({ length: given.slots }, (_, i) => {
        return new Uint8Array(buffer, slotsAt + i * given.slotBytes, given.slotBytes);
      }),
    };
  },
  produce({ buffers, bufferBytes }: { buffers: number; bufferBytes: number }): void {
    const { words, checksums, slots } = ring as Ring;
    const payload = new Uint8Array(bufferBytes).fill(7);
    const start = Atomics.load(words, WRITTEN);
    for (let n = start; n !== start + buffers; n++) {
      until(() => n - Atomics.load(words, READ) < slots.length);
      const slot = slots[n % slots.length] as Uint8Array;
      slot.set(payload);
      checksums[n % slots.length] = xxh64(payload);
      Atomics.store(words, WRITTEN, n + 1);
    }
  },
  consume({ buffers }: { buffers: number }): void {
    const { words, checksums, slots } = ring as Ring;
    const start = Atomics.load(words, READ);
    for (let n = start; n !== start + buffers; n++) {
      until(() => Atomics.load(words, WRITTEN) > n);
      if (xxh64(slots[n % slots.length] as Uint8Array) !== checksums[n % slots.length])
        throw new Error(`buffer ${n} is corrupt`);
      Atomics.store(words, READ, n + 1);
    }
  },
});

/**
 * Spins for a moment, then sleeps: with more processes than cores, spinning takes the core from the one that is waited
 * for. The ring holds milliseconds of work, so a short sleep loses nothing.
 */
function until(ready: () => boolean): void {
  for (let i = 0; i < SPINS_MAX; i++) if (ready()) return;
  while (!ready()) Atomics.wait(asleep, 0, 0, SLEEP_MS);
}
