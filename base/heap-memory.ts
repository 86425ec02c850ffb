import { checkRegionRequest, memoryExists, memoryFull, memoryNotFound } from './memory-region-errors.js';
import { regionOver, type SharedMemory, type SharedRegion } from './shared-memory.js';

/**
 * Regions on the heap of one thread: for daemons whose clients come over the wire, and for the simulator.
 * `read` gives the same views as `write`. `bytesMax` bounds the sum of all regions (`MEMORY_FULL`).
 */
export function heapMemory(options: { readonly bytesMax?: number } = {}): SharedMemory {
  const bytesMax = options.bytesMax ?? Number.POSITIVE_INFINITY;
  return bufferMemory('the heap', bytesMax, (byteLength) => new ArrayBuffer(byteLength));
}

/** A registry of named buffers; what heap memory and the owner's side of SharedArrayBuffer memory have in common. */
export function bufferMemory(
  where: string,
  bytesMax: number,
  allocate: (byteLength: number) => ArrayBufferLike,
): SharedMemory {
  const regions = new Map<string, SharedRegion>();
  let usedBytes = 0;
  return {
    async create(name, byteLength) {
      checkRegionRequest(name, byteLength);
      if (regions.has(name)) throw memoryExists(name, where);
      const freeBytes = bytesMax - usedBytes;
      const advice = 'raise its limit or use less';
      if (byteLength > freeBytes) throw memoryFull(name, byteLength, where, freeBytes, advice);
      let region: SharedRegion;
      try {
        region = regionOver(name, allocate(byteLength));
      } catch {
        throw memoryFull(name, byteLength, where, 0, advice);
      }
      regions.set(name, region);
      usedBytes += byteLength;
      return region;
    },
    async open(name) {
      const region = regions.get(name);
      if (region === undefined) throw memoryNotFound(name, where);
      return region;
    },
    async remove(name) {
      usedBytes -= regions.get(name)?.bytes.length ?? 0;
      regions.delete(name);
    },
    retire() {
      // The garbage collector frees a buffer once its name and all views are gone.
    },
    async list() {
      return [...regions.keys()].sort();
    },
  };
}
