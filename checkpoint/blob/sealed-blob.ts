import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { MillraceError, type Random } from '../../base/index.js';

/**
 * The bytes of an encrypted blob, AES-256-GCM in chunks:
 *
 *     0    4  magic `MRES`
 *     4    1  version, 1
 *     5    1  length of the key id
 *     6    2  zero
 *     8   32  key id, filled up with zeros
 *     40  32  salt, random
 *     72      chunk 0: 65,536 bytes of ciphertext, 16 bytes of tag
 *             chunk 1 ..
 *             the last chunk: 0 to 65,536 bytes of ciphertext (0 only in an empty blob), 16 bytes of tag
 *
 *     key    HKDF-SHA256(master key, salt, `millrace blob 1`, kind, name): one a blob, so nonces need to differ within it only
 *     nonce  000000 | chunk index, 8 bytes big-endian | 1 for the last chunk, else 0
 *     AAD    header | kind | plaintext offset of the chunk, 8 bytes big-endian | name
 *
 * The chunks are the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption and its
 * Nonce-Reuse Misuse-Resistance", CRYPTO 2015): the index in the nonce forbids reordering, the flag forbids truncation,
 * and each chunk can be opened alone, at random. Kind, name and offset are authenticated besides, so that a chunk
 * opens in no other blob and at no other place.
 */
export const chunkBytes = 65_536;
export const tagBytes = 16;
export const headerBytes = 72;
export const sealedChunkBytes = chunkBytes + tagBytes;

export type SealedKind = 'object' | 'value';

/** What every encrypted blob begins with. */
export const sealedMagic = Buffer.from('MRES', 'latin1');
const version = 1;
const keyIdBytesMax = 32;
const saltBytes = 32;
const saltAt = 40;
const algorithm = 'aes-256-gcm';

/** Bytes of the sealed form of so many plain ones. */
export function sealedBytes(plainBytes: number): number {
  return headerBytes + plainBytes + tagBytes * Math.max(1, Math.ceil(plainBytes / chunkBytes));
}

/** The reverse; undefined for a size that no sealed blob has. */
export function plainBytes(sealed: number): number | undefined {
  const body = sealed - headerBytes;
  const bytes = body - tagBytes * Math.max(1, Math.ceil(body / sealedChunkBytes));
  return bytes >= 0 && sealedBytes(bytes) === sealed ? bytes : undefined;
}

/** Master keys by id: the current one seals, all of them open. Keys are copied. */
export class MasterKeys {
  readonly #keys = new Map<string, KeyObject>();
  readonly #current: string;

  /** @throws MillraceError `BLOB_KEY_INVALID` (invalid). */
  constructor(keys: ReadonlyMap<string, Uint8Array>, current: string) {
    for (const [id, key] of keys) {
      if (!/^[A-Za-z0-9._-]{1,32}$/.test(id)) {
        throw invalidKey(`a key id is 1 to ${keyIdBytesMax} of [A-Za-z0-9._-], not ${JSON.stringify(id)}`);
      }
      if (key.byteLength !== 32) throw invalidKey(`key ${id} has ${key.byteLength} bytes, AES-256 takes 32`);
      this.#keys.set(id, createSecretKey(key));
    }
    if (!this.#keys.has(current)) {
      throw invalidKey(`the current key ${JSON.stringify(current)} is not among ${this.#known()}`);
    }
    this.#current = current;
  }

  /** What a new blob is sealed with. */
  seal(kind: SealedKind, name: string, random: Random): BlobSeal {
    const header = Buffer.alloc(headerBytes);
    sealedMagic.copy(header);
    header[4] = version;
    header[5] = this.#current.length;
    header.write(this.#current, 8, 'latin1');
    for (let at = 0; at < saltBytes; at += 4) header.writeUInt32BE(random.u32(), saltAt + at);
    return new BlobSeal(this.#keys.get(this.#current) as KeyObject, kind, name, header);
  }

  /**
   * What an existing blob opens with; `header` are its first `headerBytes`, or all there are.
   * @throws MillraceError `BLOB_TAMPERED` (corrupt), `BLOB_KEY_UNKNOWN` (invalid).
   */
  sealOf(kind: SealedKind, name: string, header: Uint8Array): BlobSeal {
    const bytes = Buffer.from(header);
    if (bytes.length < headerBytes) throw tampered(kind, name, `its header ends after ${bytes.length} bytes`);
    if (!bytes.subarray(0, 4).equals(sealedMagic)) throw tampered(kind, name, 'it is not an encrypted blob');
    if (bytes[4] !== version) throw tampered(kind, name, `its format is version ${bytes[4]}, not ${version}`);
    const id = bytes.toString('latin1', 8, 8 + Math.min(bytes[5] as number, keyIdBytesMax));
    const key = this.#keys.get(id);
    if (key === undefined) {
      throw new MillraceError(
        'invalid',
        'BLOB_KEY_UNKNOWN',
        `${kind} ${name} is encrypted with the key ${JSON.stringify(id)}; known are ${this.#known()}`,
        { context: { name, keyId: id } },
      );
    }
    return new BlobSeal(key, kind, name, bytes);
  }

  #known(): string {
    return [...this.#keys.keys()].join(', ') || 'none';
  }
}

/** Seals and opens the chunks of one blob. */
export class BlobSeal {
  readonly header: Uint8Array;
  readonly #kind: SealedKind;
  readonly #name: string;
  readonly #key: Uint8Array;
  /** The offset in the middle is written anew for each chunk. */
  readonly #aad: Buffer;
  readonly #nonce = Buffer.alloc(12);

  constructor(master: KeyObject, kind: SealedKind, name: string, header: Uint8Array) {
    this.header = header;
    this.#kind = kind;
    this.#name = name;
    const info = Buffer.from(`millrace blob 1\0${kind}\0${name}`, 'utf8');
    const salt = header.subarray(saltAt, saltAt + saltBytes);
    this.#key = new Uint8Array(hkdfSync('sha256', master, salt, info, 32));
    this.#aad = Buffer.concat([header, Buffer.from(kind[0] as string), Buffer.alloc(8), Buffer.from(name, 'utf8')]);
  }

  /** Writes a chunk and its tag to `target` at `at`. Chunks but the last are full. */
  sealChunk(index: number, plain: Uint8Array, last: boolean, target: Uint8Array, at: number): void {
    this.#place(index, last);
    const cipher = createCipheriv(algorithm, this.#key, this.#nonce, { authTagLength: tagBytes });
    cipher.setAAD(this.#aad);
    target.set(cipher.update(plain), at);
    cipher.final();
    target.set(cipher.getAuthTag(), at + plain.byteLength);
  }

  /**
   * `sealed` has its tag, so it is `tagBytes` long or more.
   * @throws MillraceError `BLOB_TAMPERED` unless this is the chunk that was sealed as `index` of this blob.
   */
  openChunk(index: number, sealed: Uint8Array, last: boolean): Uint8Array {
    this.#place(index, last);
    const length = sealed.byteLength - tagBytes;
    const decipher = createDecipheriv(algorithm, this.#key, this.#nonce, { authTagLength: tagBytes });
    decipher.setAAD(this.#aad);
    decipher.setAuthTag(sealed.subarray(length));
    const plain = decipher.update(sealed.subarray(0, length));
    try {
      decipher.final();
    } catch (cause) {
      const bytes = `its bytes ${index * chunkBytes} to ${index * chunkBytes + length}`;
      throw this.tampered(`${bytes} were altered, cut off, or sealed with another key of this id`, cause);
    }
    return plain;
  }

  tampered(why: string, cause?: unknown): MillraceError {
    return tampered(this.#kind, this.#name, why, cause);
  }

  #place(index: number, last: boolean): void {
    this.#nonce.writeBigUInt64BE(BigInt(index), 3);
    this.#nonce[11] = last ? 1 : 0;
    this.#aad.writeBigUInt64BE(BigInt(index * chunkBytes), headerBytes + 1);
  }
}

function tampered(kind: SealedKind, name: string, why: string, cause?: unknown): MillraceError {
  const details = { cause, context: { name } };
  return new MillraceError('corrupt', 'BLOB_TAMPERED', `${kind} ${name} is not what was stored: ${why}`, details);
}

function invalidKey(why: string): MillraceError {
  return new MillraceError('invalid', 'BLOB_KEY_INVALID', why);
}
