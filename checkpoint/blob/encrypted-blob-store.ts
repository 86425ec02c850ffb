import { type Clock, MillraceError, type Random, yieldTurn } from '../../base/index.js';
import { hasCode } from './blob-errors.js';
import { validateBlobName } from './blob-name.js';
import type { BlobStore, BlobVersion } from './blob-store.js';
import {
  type BlobSeal,
  chunkBytes,
  headerBytes,
  MasterKeys,
  plainBytes,
  type SealedKind,
  sealedBytes,
  sealedChunkBytes,
  tagBytes,
} from './sealed-blob.js';
import { valueVersions } from './value-versions.js';

/** Headers of so many objects are remembered: a ranged get of a known object is one request. */
const sealsMax = 4_096;
/** Chunks between which other work of the thread gets a turn: about a millisecond. */
const chunksPerTurn = 8;

type Range = { readonly offset: number; readonly length: number };

/**
 * Encrypts what another BlobStore holds, with AES-256-GCM in chunks (`sealed-blob.ts` draws the bytes). What comes back
 * is what was put under this name, whole or in ranges, or `BLOB_TAMPERED` (corrupt): altered, cut short, moved to another
 * name or place, an object passed off as a value. A blob sealed with a key that is not at hand is `BLOB_KEY_UNKNOWN`
 * (invalid). Ranged gets fetch only the chunks they touch; the first of an object also its header, at the same time.
 *
 * Keys rotate by id: `current` seals, every key in `keys` opens; drop an old one when nothing that it sealed is left.
 *
 * Not covered: names, sizes and times are visible; whoever can write the store can remove objects and put an older sealed
 * HEAD, or an older object of the same name, back in place. `stat` is computed from the stored size, which nothing
 * vouches for until the bytes are read.
 */
export class EncryptedBlobStore implements BlobStore {
  readonly location: string;
  readonly #inner: BlobStore;
  readonly #keys: MasterKeys;
  readonly #random: Random;
  readonly #clock: Clock;
  /** Of objects, by name; the longest unused go first. */
  readonly #seals = new Map<string, BlobSeal>();

  /**
   * `random` makes the salts: outside of tests, the system's.
   * @throws MillraceError `BLOB_KEY_INVALID` (invalid).
   */
  constructor(options: {
    readonly inner: BlobStore;
    /** Key id (1 to 32 of [A-Za-z0-9._-]) to 32 bytes. */
    readonly keys: ReadonlyMap<string, Uint8Array>;
    readonly current: string;
    readonly random: Random;
    readonly clock: Clock;
  }) {
    this.location = options.inner.location;
    this.#inner = options.inner;
    this.#keys = new MasterKeys(options.keys, options.current);
    this.#random = options.random;
    this.#clock = options.clock;
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    validateBlobName(name);
    const seal = this.#keys.seal('object', name, this.#random);
    await this.#inner.put(name, await this.#sealAll(seal, bytes));
    this.#remember(name, seal);
  }

  async get(name: string, range?: Range): Promise<Uint8Array> {
    validateBlobName(name);
    if (range === undefined) return this.#openAll('object', name, await this.#inner.get(name));
    const known = this.#seals.get(name);
    if (known !== undefined) {
      try {
        const bytes = await this.#getRange(name, range, known);
        this.#remember(name, known);
        return bytes;
      } catch (thrown) {
        // Nobody should put a name anew, but if someone did, its header is another one.
        if (!hasCode(thrown, 'BLOB_TAMPERED')) throw thrown;
        this.#seals.delete(name);
      }
    }
    return this.#getRange(name, range, undefined);
  }

  async stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    const stat = await this.#inner.stat(name);
    if (stat === undefined) return undefined;
    const bytes = plainBytes(stat.bytes);
    if (bytes !== undefined) return { bytes };
    const message = `object ${name} is not what was stored: no encrypted blob has ${stat.bytes} bytes`;
    throw new MillraceError('corrupt', 'BLOB_TAMPERED', message, { context: { name } });
  }

  async delete(name: string): Promise<void> {
    this.#seals.delete(name);
    await this.#inner.delete(name);
  }

  list(prefix: string): Promise<string[]> {
    return this.#inner.list(prefix);
  }

  async read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    const value = await this.#inner.read(name);
    if (value === undefined) return undefined;
    return { bytes: await this.#openAll('value', name, value.bytes), version: value.version };
  }

  async forget(name: string): Promise<void> {
    this.#seals.delete(name);
    await this.#inner.forget?.(name);
  }

  async versions(name: string): Promise<readonly BlobVersion[]> {
    return Promise.all((await valueVersions(this.#inner, name)).map((value) => this.#opened(name, value)));
  }

  async #opened(name: string, { version, bytes }: BlobVersion): Promise<BlobVersion> {
    const opened = bytes && (await this.#openAll('value', name, bytes).catch(unlessDamaged));
    return { version, bytes: opened };
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    validateBlobName(name);
    const seal = this.#keys.seal('value', name, this.#random);
    return this.#inner.compareAndSet(name, expected, await this.#sealAll(seal, bytes));
  }

  async #sealAll(seal: BlobSeal, plain: Uint8Array): Promise<Uint8Array> {
    const sealed = new Uint8Array(sealedBytes(plain.byteLength));
    sealed.set(seal.header);
    let at = headerBytes;
    for (let index = 0; at < sealed.byteLength; index++) {
      const chunk = plain.subarray(index * chunkBytes, (index + 1) * chunkBytes);
      const last = at + sealedChunkBytes >= sealed.byteLength;
      seal.sealChunk(index, chunk, last, sealed, at);
      at += sealedChunkBytes;
      if (index % chunksPerTurn === chunksPerTurn - 1) await yieldTurn(this.#clock);
    }
    return sealed;
  }

  #openAll(kind: SealedKind, name: string, sealed: Uint8Array): Promise<Uint8Array> {
    const seal = this.#keys.sealOf(kind, name, sealed.subarray(0, headerBytes));
    return this.#openChunks(seal, 0, sealed.subarray(headerBytes), true);
  }

  /** `ends`: the object ends where these chunks end. */
  async #openChunks(seal: BlobSeal, first: number, sealed: Uint8Array, ends: boolean): Promise<Uint8Array> {
    const chunks = Math.max(1, Math.ceil(sealed.byteLength / sealedChunkBytes));
    if (sealed.byteLength < (chunks - 1) * sealedChunkBytes + tagBytes)
      throw seal.tampered('its last chunk is cut short');
    const plain = new Uint8Array(sealed.byteLength - chunks * tagBytes);
    for (let i = 0; i < chunks; i++) {
      const chunk = sealed.subarray(i * sealedChunkBytes, (i + 1) * sealedChunkBytes);
      plain.set(seal.openChunk(first + i, chunk, ends && i === chunks - 1), i * chunkBytes);
      if (i % chunksPerTurn === chunksPerTurn - 1) await yieldTurn(this.#clock);
    }
    return plain;
  }

  async #getRange(name: string, range: Range, known: BlobSeal | undefined): Promise<Uint8Array> {
    const first = Math.floor(range.offset / chunkBytes);
    const end = Math.ceil(Math.min(range.offset + Math.max(range.length, 1), 2 ** 52) / chunkBytes);
    // One byte more than the chunks: whether it comes tells if the last of them is the last of all, without asking for the size.
    const length = (end - first) * sealedChunkBytes + 1;
    const offset = headerBytes + first * sealedChunkBytes;
    const [seal, sealed] = await this.#fetch(name, { offset, length }, known);
    if (sealed.byteLength === 0) return this.#pastTheEnd(name, first, seal);
    const ends = sealed.byteLength < length;
    const plain = await this.#openChunks(seal, first, ends ? sealed : sealed.subarray(0, length - 1), ends);
    this.#remember(name, seal);
    const from = range.offset - first * chunkBytes;
    return plain.slice(from, from + range.length);
  }

  async #fetch(name: string, range: Range, known: BlobSeal | undefined): Promise<readonly [BlobSeal, Uint8Array]> {
    if (known !== undefined) return [known, await this.#inner.get(name, range)];
    if (range.offset === headerBytes) {
      const bytes = await this.#inner.get(name, { offset: 0, length: headerBytes + range.length });
      return [this.#keys.sealOf('object', name, bytes.subarray(0, headerBytes)), bytes.subarray(headerBytes)];
    }
    const [header, bytes] = await Promise.all([
      this.#inner.get(name, { offset: 0, length: headerBytes }),
      this.#inner.get(name, range),
    ]);
    return [this.#keys.sealOf('object', name, header), bytes];
  }

  /** The stored object ends before the range begins: empty if the object's last chunk says so too. */
  async #pastTheEnd(name: string, first: number, seal: BlobSeal): Promise<Uint8Array> {
    const bytes = (await this.stat(name))?.bytes ?? 0;
    if (bytes > first * chunkBytes) throw seal.tampered('its size changes');
    const last = Math.max(0, Math.ceil(bytes / chunkBytes) - 1);
    const offset = headerBytes + last * sealedChunkBytes;
    const sealed = await this.#inner.get(name, { offset, length: sealedChunkBytes });
    await this.#openChunks(seal, last, sealed, true);
    return new Uint8Array(0);
  }

  #remember(name: string, seal: BlobSeal): void {
    this.#seals.delete(name);
    this.#seals.set(name, seal);
    if (this.#seals.size <= sealsMax) return;
    const [oldest] = this.#seals.keys();
    if (oldest !== undefined) this.#seals.delete(oldest);
  }
}

function unlessDamaged(thrown: unknown): undefined {
  if (MillraceError.from(thrown).kind !== 'corrupt') throw thrown;
}
