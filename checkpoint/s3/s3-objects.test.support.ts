import { createHash } from 'node:crypto';

/** A refusal, as S3 words it. */
export class S3Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/** What a server that is not fit for checkpoints takes and ignores. `absent`: If-Match where there is no such key. */
export type IgnoredCondition = 'if-none-match' | 'if-match' | 'absent';

export interface Conditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

interface Upload {
  readonly key: string;
  readonly startedAtMs: number;
  readonly parts: Map<number, StoredObject>;
}

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

/** The objects and unfinished uploads of one bucket, in memory. Each call is one step: nothing else comes between. */
export class TestBucket {
  readonly objects = new Map<string, StoredObject>();
  readonly uploads = new Map<string, Upload>();
  readonly #ignored: ReadonlySet<IgnoredCondition>;
  #uploadsMade = 0;

  constructor(ignored: readonly IgnoredCondition[] = []) {
    this.#ignored = new Set(ignored);
  }

  put(key: string, bytes: Uint8Array, conditions: Conditions): StoredObject {
    this.#check(key, conditions);
    const stored = { bytes: bytes.slice(), etag: `"${md5(bytes)}"` };
    this.objects.set(key, stored);
    return stored;
  }

  get(key: string): StoredObject {
    const stored = this.objects.get(key);
    if (stored === undefined) throw new S3Refusal(404, 'NoSuchKey', 'The specified key does not exist.');
    return stored;
  }

  /** At most `count` keys with this prefix after `after`, in order, and whether there are more. */
  list(prefix: string, after: string, count: number): { readonly keys: string[]; readonly more: boolean } {
    const all = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    return { keys: all.slice(0, count), more: all.length > count };
  }

  createUpload(key: string, startedAtMs: number): string {
    const id = `upload-${++this.#uploadsMade}`;
    this.uploads.set(id, { key, startedAtMs, parts: new Map() });
    return id;
  }

  putPart(uploadId: string, part: number, bytes: Uint8Array): StoredObject {
    const stored = { bytes: bytes.slice(), etag: `"${md5(bytes)}"` };
    this.#upload(uploadId).parts.set(part, stored);
    return stored;
  }

  complete(
    uploadId: string,
    parts: readonly { readonly part: number; readonly etag: string }[],
    conditions: Conditions,
  ): StoredObject {
    const upload = this.#upload(uploadId);
    const stored = parts.map(({ part, etag }, i) => {
      const found = upload.parts.get(part);
      if (found === undefined || found.etag !== etag) throw new S3Refusal(400, 'InvalidPart');
      if (i > 0 && part <= (parts[i - 1]?.part ?? 0)) throw new S3Refusal(400, 'InvalidPartOrder');
      return found.bytes;
    });
    if (stored.length === 0) throw new S3Refusal(400, 'MalformedXML');
    this.#check(upload.key, conditions);
    this.uploads.delete(uploadId);
    const bytes = Buffer.concat(stored);
    const object = { bytes, etag: `"${md5(bytes)}-${parts.length}"` };
    this.objects.set(upload.key, object);
    return object;
  }

  abort(uploadId: string): void {
    this.#upload(uploadId);
    this.uploads.delete(uploadId);
  }

  #upload(uploadId: string): Upload {
    const upload = this.uploads.get(uploadId);
    if (upload === undefined) throw new S3Refusal(404, 'NoSuchUpload');
    return upload;
  }

  #check(key: string, { ifMatch, ifNoneMatch }: Conditions): void {
    const there = this.objects.get(key);
    const failed = new S3Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions did not hold.');
    if (ifNoneMatch === '*' && there !== undefined && !this.#ignored.has('if-none-match')) throw failed;
    if (ifMatch === undefined) return;
    if (there === undefined && !this.#ignored.has('absent')) throw new S3Refusal(404, 'NoSuchKey');
    if (there !== undefined && there.etag !== ifMatch && !this.#ignored.has('if-match')) throw failed;
  }
}
