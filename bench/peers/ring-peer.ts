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
const SPINS_MAX = 2_000;

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
  async produce({ buffers, bufferBytes }: { buffers: number; bufferBytes: number }): Promise<void> {
    const { words, checksums, slots } = ring as Ring;
    const payload = new Uint8Array(bufferBytes).fill(7);
    const start = Atomics.load(words, WRITTEN);
    for (let n = start; n !== start + buffers; n++) {
      await until(() => n - Atomics.load(words, READ) < slots.length);
      const slot = slots[n % slots.length] as Uint8Array;
      slot.set(payload);
      checksums[n % slots.length] = xxh64(payload);
      Atomics.store(words, WRITTEN, n + 1);
    }
  },
  async consume({ buffers }: { buffers: number }): Promise<void> {
    const { words, checksums, slots } = ring as Ring;
    const start = Atomics.load(words, READ);
    for (let n = start; n !== start + buffers; n++) {
      await until(() => Atomics.load(words, WRITTEN) > n);
      if (xxh64(slots[n % slots.length] as Uint8Array) !== checksums[n % slots.length])
        throw new Error(`buffer ${n} is corrupt`);
      Atomics.store(words, READ, n + 1);
    }
  },
});

/** Spins, for that is the fastest; then lets others have the core. */
function until(ready: () => boolean): Promise<void> | undefined {
  for (let i = 0; i < SPINS_MAX; i++) if (ready()) return undefined;
  return untilLater(ready);
}

async function untilLater(ready: () => boolean): Promise<void> {
  while (!ready()) await new Promise((resolve) => setImmediate(resolve));
}
