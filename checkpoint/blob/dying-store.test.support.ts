import { MillraceError } from '../../base/index.js';
import type { BlobStore } from './blob-store.js';

/**
 * A store whose process dies at its n-th call: that call, and all after it, fail. Dying `after`, the n-th call still takes
 * effect, and only its answer is lost.
 */
export class DyingStore implements BlobStore {
  readonly location: string;
  calls = 0;
  /** Runs before each call, with its name: for what others do meanwhile. */
  before: (call: string, name: string) => Promise<void> = async () => {};
  readonly #inner: BlobStore;
  readonly #at: number;
  readonly #after: boolean;

  constructor(inner: BlobStore, at = Number.POSITIVE_INFINITY, after = false) {
    this.#inner = inner;
    this.#at = at;
    this.#after = after;
    this.location = inner.location;
  }

  get dead(): boolean {
    return this.calls >= this.#at;
  }

  put = (name: string, b: Uint8Array) => this.#call('put', name, () => this.#inner.put(name, b));
  get = (name: string, r?: { offset: number; length: number }) =>
    this.#call('get', name, () => this.#inner.get(name, r));
  stat = (name: string) => this.#call('stat', name, () => this.#inner.stat(name));
  delete = (name: string) => this.#call('delete', name, () => this.#inner.delete(name));
  list = (prefix: string) => this.#call('list', prefix, () => this.#inner.list(prefix));
  read = (name: string) => this.#call('read', name, () => this.#inner.read(name));
  compareAndSet = (name: string, e: string | undefined, b: Uint8Array) =>
    this.#call('compareAndSet', name, () => this.#inner.compareAndSet(name, e, b));

  async #call<T>(call: string, name: string, fn: () => Promise<T>): Promise<T> {
    await this.before(call, name);
    const mine = ++this.calls;
    if (mine > this.#at || (mine === this.#at && !this.#after)) throw died();
    const result = await fn();
    if (mine === this.#at) throw died();
    return result;
  }
}

function died(): MillraceError {
  return new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'the process died here (test)');
}
