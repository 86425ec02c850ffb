import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Clock,
  type Disk,
  MillraceError,
  nodeDisk,
  silentLogger,
  systemClock,
  systemRandom,
  yieldTurn,
} from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { BlobCall } from '../blob/counted-blob-store.js';
import { JumpingClock } from '../blob/jumping-clock.test.support.js';
import type { TierAuthority } from './tier-folder.js';
import type { TierSettings } from './tier-settings.js';
import { TieredBlobStore } from './tiered-blob-store.js';

/** A store that does something before or after its calls: waits at a gate, fails, looks. */
export class HookedBlobStore implements BlobStore {
  readonly location: string;
  before: (call: BlobCall, name: string) => Promise<void> | void = () => {};
  after: (call: BlobCall, name: string) => Promise<void> | void = () => {};
  readonly #inner: BlobStore;

  constructor(inner: BlobStore) {
    this.#inner = inner;
    this.location = inner.location;
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.#call('put', name, () => this.#inner.put(name, bytes));
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#call('get', name, () => this.#inner.get(name, range));
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.#call('stat', name, () => this.#inner.stat(name));
  }

  delete(name: string): Promise<void> {
    return this.#call('delete', name, () => this.#inner.delete(name));
  }

  list(prefix: string): Promise<string[]> {
    return this.#call('list', prefix, () => this.#inner.list(prefix));
  }

  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    return this.#call('read', name, () => this.#inner.read(name));
  }

  compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    return this.#call('compareAndSet', name, () => this.#inner.compareAndSet(name, expected, bytes));
  }

  async #call<T>(call: BlobCall, name: string, run: () => Promise<T>): Promise<T> {
    await this.before(call, name);
    const result = await run();
    await this.after(call, name);
    return result;
  }
}

export function away(): MillraceError {
  return new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'away');
}

/** Closed until `open` is called; `reached` resolves when somebody first waits at it. */
export class Gate {
  readonly reached: Promise<void>;
  readonly #opened: Promise<void>;
  open: () => void = () => {};
  #reach: () => void = () => {};

  constructor() {
    this.#opened = new Promise((resolve) => {
      this.open = resolve;
    });
    this.reached = new Promise((resolve) => {
      this.#reach = resolve;
    });
  }

  pass(): Promise<void> {
    this.#reach();
    return this.#opened;
  }
}

/** Lets everything else run until the condition holds. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  const clock = systemClock();
  for (let turns = 0; turns < 200_000; turns++) {
    if (await condition()) return;
    await yieldTurn(clock);
  }
  throw new Error(`it never happened: ${condition}`);
}

export interface TierFixture {
  readonly root: string;
  open(options?: TierOpenOptions): Promise<TieredBlobStore>;
}

export interface TierOpenOptions extends Partial<TierSettings> {
  readonly remote?: BlobStore;
  readonly disk?: Disk;
  readonly clock?: Clock;
}

/** A folder for one test. What it opened is closed and removed at the end. Delays take no time. */
export async function withTier(
  authority: TierAuthority,
  remote: BlobStore,
  test: (fixture: TierFixture) => Promise<void>,
): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  const opened: TieredBlobStore[] = [];
  try {
    await test({
      root,
      open: async ({ remote: other, disk, clock, ...settings } = {}) => {
        const store = await TieredBlobStore.open({
          disk: disk ?? nodeDisk(),
          root,
          remote: other ?? remote,
          clock: clock ?? new JumpingClock(),
          random: systemRandom(),
          logger: silentLogger(),
          settings: { authority, ...settings },
        });
        opened.push(store);
        return store;
      },
    });
  } finally {
    for (const store of opened) await store.close();
    rmSync(root, { recursive: true, force: true });
  }
}
