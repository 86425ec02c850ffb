import type { SharedMemory, SharedRegion } from '../base/index.js';

/**
 * Shared memory that knows what is in use in this thread: a region is retired when as many `retire` as `open` came.
 * Everybody who uses the same memory gets the same counts, for they may be given the same region.
 */
export function countedMemory(memory: SharedMemory): SharedMemory {
  const known = counted.get(memory);
  if (known !== undefined) return known;
  const made = count(memory);
  counted.set(memory, made);
  counted.set(made, made);
  return made;
}

const counted = new WeakMap<SharedMemory, SharedMemory>();

function count(memory: SharedMemory): SharedMemory {
  const uses = new Map<SharedRegion, number>();
  const use = (region: SharedRegion): SharedRegion => {
    uses.set(region, (uses.get(region) ?? 0) + 1);
    return region;
  };
  return {
    create: async (name, byteLength) => use(await memory.create(name, byteLength)),
    open: async (name, access) => use(await memory.open(name, access)),
    remove: (name) => memory.remove(name),
    retire(region) {
      const left = (uses.get(region) ?? 0) - 1;
      if (left > 0) uses.set(region, left);
      else {
        uses.delete(region);
        memory.retire(region);
      }
    },
    list: () => memory.list(),
  };
}
