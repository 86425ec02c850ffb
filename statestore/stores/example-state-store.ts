import { compareBytes } from '../../checkpoint/index.js';
import type { EntryStorage, StoredEntry } from './entry-storage.js';
import type { StateStorePlugin } from './state-store-plugin.js';
import { StoredStateStore } from './stored-state-store.js';

/** Entries in sorted arrays, one for each key group and state. */
class ArrayStorage implements EntryStorage {
  readonly #sections = new Map<string, StoredEntry[]>();

  get(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined {
    const section = this.#section(keyGroup, state);
    const at = placeOf(section, key, sub);
    return isAt(section[at], key, sub) ? section[at]?.payload : undefined;
  }

  put(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array, payload: Uint8Array): void {
    const section = this.#section(keyGroup, state);
    const at = placeOf(section, key, sub);
    const replaced = isAt(section[at], key, sub) ? 1 : 0;
    section.splice(at, replaced, { key: key.slice(), sub: sub.slice(), payload: payload.slice() });
  }

  remove(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): void {
    const section = this.#section(keyGroup, state);
    const at = placeOf(section, key, sub);
    if (isAt(section[at], key, sub)) section.splice(at, 1);
  }

  *walk(keyGroup: number, state: number, fromKey: Uint8Array, fromSub: Uint8Array): Generator<StoredEntry> {
    const section = this.#section(keyGroup, state);
    for (let at = placeOf(section, fromKey, fromSub); at < section.length; at++) yield section[at] as StoredEntry;
  }

  async close(): Promise<void> {
    this.#sections.clear();
  }

  #section(keyGroup: number, state: number): StoredEntry[] {
    const name = `${keyGroup}/${state}`;
    const section = this.#sections.get(name) ?? [];
    this.#sections.set(name, section);
    return section;
  }
}

/** Of the first entry that does not come before this one. */
function placeOf(section: readonly StoredEntry[], key: Uint8Array, sub: Uint8Array): number {
  let [low, high] = [0, section.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = section[middle] as StoredEntry;
    if ((compareBytes(entry.key, key) || compareBytes(entry.sub, sub)) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function isAt(entry: StoredEntry | undefined, key: Uint8Array, sub: Uint8Array): boolean {
  return entry !== undefined && compareBytes(entry.key, key) === 0 && compareBytes(entry.sub, sub) === 0;
}

/**
 * A state store of one's own, on the shortest way: a place for entries, here sorted arrays, and `StoredStateStore` over it.
 * `millrace run job.ts --state-store ./example-state-store.js`.
 */
const plugin: StateStorePlugin = {
  name: 'example',
  open: async ({ chainLengthMax }) => ({
    create: (range) => new StoredStateStore(range, new ArrayStorage(), { chainLengthMax }),
  }),
};

export default plugin;
