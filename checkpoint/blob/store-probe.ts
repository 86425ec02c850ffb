import { MillraceError, type Random } from '../../base/index.js';
import { hasCode } from './blob-errors.js';
import type { BlobStore } from './blob-store.js';

/** A store that is probed; `deleteValue` lets the probe remove its scratch values too. */
export type ProbedStore = BlobStore & { deleteValue?(name: string): Promise<void> };

const [first, second, third] = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)];

/**
 * Checks, under scratch names nobody else has, that a store keeps the conditions on which everything else rests: many
 * servers that speak S3 take `If-Match` and `If-None-Match`, and ignore them. Removes what it wrote, however it ends.
 * Costs a few requests, side by side; a failure of the store itself passes through.
 * @throws MillraceError `STORE_CONDITIONS` (invalid) that names the store and the condition it ignores.
 */
export async function probeConditions(store: ProbedStore, options: { readonly random: Random }): Promise<void> {
  const probe = new Probe(store, `probe/${options.random.nonce()}`);
  const outcomes = await Promise.allSettled([probe.object(), probe.value()]);
  const removals = await Promise.allSettled([
    store.delete(probe.name),
    store.deleteValue?.(probe.name),
    store.deleteValue?.(probe.absent),
  ]);
  const failures = [...outcomes, ...removals].flatMap((o) => (o.status === 'rejected' ? [o.reason as unknown] : []));
  // What the store ignores says more than a request that failed beside it.
  const failure = failures.find((thrown) => hasCode(thrown, 'STORE_CONDITIONS')) ?? failures[0];
  if (failure !== undefined) throw failure;
}

class Probe {
  readonly name: string;
  /** A value that is never set. */
  readonly absent: string;
  readonly #store: BlobStore;

  constructor(store: BlobStore, name: string) {
    this.#store = store;
    this.name = name;
    this.absent = `${name}-absent`;
  }

  async object(): Promise<void> {
    const { name } = this;
    const store = this.#store;
    await store.put(name, first);
    await this.#refuses('BLOB_EXISTS', store.put(name, second), 'If-None-Match on a put: it overwrites what is there');
    this.#holds(
      await store.get(name),
      first,
      'a put that is refused changes what is stored, or a get does not see a put',
    );
    if ((await store.list(name)).includes(name)) return;
    throw this.#unfit('a list does not show what was put before it');
  }

  async value(): Promise<void> {
    const { name } = this;
    const store = this.#store;
    const stale = await store.compareAndSet(name, undefined, first);
    this.#holds((await store.read(name))?.bytes, first, 'a read does not see a write');
    await this.#refuses(
      'CAS_CONFLICT',
      store.compareAndSet(name, undefined, third),
      'If-None-Match on a value: it overwrites what is there',
    );
    // minio#21526: taken for granted where there is nothing to match.
    await this.#refuses(
      'CAS_CONFLICT',
      store.compareAndSet(this.absent, stale, third),
      'If-Match on a key that does not exist: it creates it',
    );
    const version = await store.compareAndSet(name, stale, second).catch((thrown: unknown) => {
      if (!hasCode(thrown, 'CAS_CONFLICT')) throw thrown;
      throw this.#unfit('it refuses If-Match with the version that it gave itself', thrown);
    });
    if (version === stale) throw this.#unfit('it gives two values the same version');
    await this.#refuses(
      'CAS_CONFLICT',
      store.compareAndSet(name, stale, third),
      'If-Match: it takes a version that was replaced',
    );
    const read = await store.read(name);
    this.#holds(read?.bytes, second, 'a read does not see a write');
    if (read?.version !== version) throw this.#unfit('a read gives another version than the write');
  }

  async #refuses(code: string, call: Promise<unknown>, what: string): Promise<void> {
    try {
      await call;
    } catch (thrown) {
      if (hasCode(thrown, code)) return;
      throw thrown;
    }
    throw this.#unfit(`it ignores ${what}`);
  }

  #holds(bytes: Uint8Array | undefined, expected: Uint8Array, otherwise: string): void {
    if (bytes?.length !== 1 || bytes[0] !== expected[0]) throw this.#unfit(otherwise);
  }

  #unfit(what: string, cause?: unknown): MillraceError {
    const message =
      `${this.#store.location}: this store cannot hold checkpoints: ${what}; two leaders could both believe that they ` +
      'completed one. Use a store with conditional writes (Amazon S3, versitygw, a recent MinIO) or a directory';
    return new MillraceError('invalid', 'STORE_CONDITIONS', message, { cause });
  }
}
