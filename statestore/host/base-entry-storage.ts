import type { EntryStorage, StoredEntry } from '../stores/entry-storage.js';
import { BaseBatch, BaseFinder, BaseWalk } from './base-entries.js';
import { BaseKeyWriter, wholeKeyBytesMax } from './base-key.js';
import { type BaseSnapshot, baseKeyBytesMax, type WritableBaseStore } from './base-store.js';

interface Pending {
  readonly keyGroup: number;
  readonly state: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  /** Undefined: removed. */
  readonly payload: Uint8Array | undefined;
}

/** Of changes that wait in memory for one transaction. */
const pendingMax = 4096;

/** EntryStorage in a base (LMDB): changes gather in memory, and go into it together when there are many or before a walk. */
export class BaseEntryStorage implements EntryStorage {
  readonly #open: () => WritableBaseStore;
  readonly #destroy: () => Promise<void>;
  readonly #pending = new Map<string, Pending>();
  readonly #batch = new BaseBatch();
  readonly #from = new BaseKeyWriter();
  readonly #to = new BaseKeyWriter();
  /** Undefined: nothing has been written yet. */
  #base: WritableBaseStore | undefined;
  #snapshot: BaseSnapshot | undefined;
  #finder: BaseFinder | undefined;

  /** `open`: an empty base of this storage's own, when it is needed; `destroy` removes it once it is closed. */
  constructor(open: () => WritableBaseStore, destroy: () => Promise<void>) {
    this.#open = open;
    this.#destroy = destroy;
  }

  get(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined {
    const name = nameOf(keyGroup, state, key, sub);
    const pending = this.#pending.get(name);
    if (pending !== undefined) return pending.payload;
    const finder = this.#finder;
    if (finder?.find(keyGroup, state, key, sub) !== true) return undefined;
    return Uint8Array.prototype.slice.call(finder.bytes, finder.start, finder.end);
  }

  put(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array, payload: Uint8Array): void {
    this.#change({ keyGroup, state, key: key.slice(), sub: sub.slice(), payload: payload.slice() });
  }

  remove(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): void {
    this.#change({ keyGroup, state, key: key.slice(), sub: sub.slice(), payload: undefined });
  }

  *walk(keyGroup: number, state: number, fromKey: Uint8Array, fromSub: Uint8Array): Generator<StoredEntry> {
    this.#flush();
    if (this.#snapshot === undefined) return;
    const from = this.#from.keyGroup(keyGroup).state(state);
    from.part(fromKey, 0, fromKey.length).part(fromSub, 0, fromSub.length);
    // Entries with long keys stand where their beginnings do.
    const start = from.key.slice(0, from.length > wholeKeyBytesMax ? baseKeyBytesMax : from.length);
    const end = this.#to.keyGroup(keyGroup).state(state).after().key.slice();
    const walk = new BaseWalk(this.#snapshot, start, end);
    try {
      while (walk.next()) {
        const { bytes, keyEnd, subEnd, payloadEnd } = walk;
        const key = bytes.slice(0, keyEnd);
        const sub = bytes.slice(keyEnd, subEnd);
        const order = Buffer.compare(key, fromKey) || Buffer.compare(sub, fromSub);
        if (order >= 0) yield { key, sub, payload: bytes.slice(subEnd, payloadEnd) };
      }
    } finally {
      walk.close();
    }
  }

  async close(): Promise<void> {
    if (this.#base === undefined) return;
    this.#snapshot?.release();
    await this.#base.close();
    await this.#destroy();
  }

  #change(change: Pending): void {
    const { keyGroup, state, key, sub } = change;
    this.#pending.set(nameOf(keyGroup, state, key, sub), change);
    if (this.#pending.size >= pendingMax) this.#flush();
  }

  #flush(): void {
    if (this.#pending.size === 0) return;
    const batch = this.#batch;
    for (const { keyGroup, state, key, sub, payload } of this.#pending.values()) {
      const bytes = Buffer.concat([key, sub, ...(payload === undefined ? [] : [payload])]);
      const subEnd = key.length + sub.length;
      if (payload === undefined) batch.remove(keyGroup, state, bytes, 0, key.length, subEnd);
      else batch.put(keyGroup, state, bytes, 0, key.length, subEnd, bytes.length);
    }
    this.#base ??= this.#open();
    this.#base.write((transaction) => batch.apply(transaction));
    batch.clear();
    this.#pending.clear();
    this.#snapshot?.release();
    this.#snapshot = this.#base.snapshot();
    this.#finder = new BaseFinder(this.#snapshot);
  }
}

function nameOf(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): string {
  return `${keyGroup}/${state}/${key.length}/${latin1(key)}${latin1(sub)}`;
}

function latin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1');
}
