import type { SharedMemory, SharedRegion } from '../base/index.js';

/** Shared memory that knows what is in use here: a region is retired when as many `retire` as `open` came. */
export function countedMemory(memory: SharedMemory): SharedMemory & { readonly openRegions: number } {
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
    get openRegions() {
      return uses.size;
    },
  };
}
