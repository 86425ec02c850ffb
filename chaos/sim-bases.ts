/**
 * The bases of one simulated host, in place of LMDB files. What a process commits survives its death, and what was synced a
 * power cut; what was not may then be anything: as synced, as committed, something of both, or no base at all. As with
 * LMDB only one process at a time may write, and a dead one no longer does.
 */
import { MillraceError, type Random } from '../base/index.js';
import { type BaseStore, type BaseStores, MemoryBaseStores, type WritableBaseStore } from '../statestore/index.js';
import type { DiskCall, SimHostDisk } from './sim-disk.js';
import type { SimThread } from './sim-thread.js';

interface SimBase {
  writer: SimThread | undefined;
  /** Committed since it was synced. */
  isUnsynced: boolean;
  isDamaged: boolean;
}

export class SimHostBases {
  /** Transactions so far, and looks of readers. */
  writes = 0;
  finds = 0;
  readonly #disk: SimHostDisk;
  readonly #random: Random;
  readonly #stores = new MemoryBaseStores();
  readonly #bases = new Map<string, SimBase>();
  #afterWrites: { left: number; readonly fn: () => void }[] = [];

  constructor(disk: SimHostDisk, random: Random) {
    this.#disk = disk;
    this.#random = random;
    disk.onPowerCut(() => this.#powerCut());
  }

  /** The view of one thread. */
  of(thread: SimThread): BaseStores {
    thread.onDeath(() => {
      for (const [path, base] of this.#bases) if (base.writer === thread) this.#release(path, base);
    });
    return {
      openWritable: (path) => this.#open(thread, path, async () => this.#writable(thread, path)),
      openReader: (path) => this.#open(thread, path, async () => this.#reader(await this.#stores.openReader(path))),
      fileBytes: () => this.#stores.fileBytes(),
      destroy: (path) => this.#call(thread, { label: 'base.destroy', path, sync: false, whole: () => this.lose(path) }),
    };
  }

  /** The file is gone. */
  lose(path: string): void {
    void this.#stores.destroy(path);
    this.#bases.delete(path);
  }

  /** `fn` is called after so many more transactions, once, in the event of the last. */
  afterWrites(left: number, fn: () => void): void {
    this.#afterWrites.push({ left, fn });
  }

  /** Nothing is called any more. */
  calm(): void {
    this.#afterWrites = [];
  }

  get paths(): readonly string[] {
    return [...this.#bases.keys()];
  }

  async #open<T>(thread: SimThread, path: string, open: () => Promise<T>): Promise<T> {
    await this.#call(thread, { label: 'base.open', path, sync: false, whole: () => {} });
    if (this.#bases.get(path)?.isDamaged === true) {
      throw new MillraceError('corrupt', 'BASE_DAMAGED', `${path} is no base (simulated)`);
    }
    return open();
  }

  async #call(thread: SimThread, call: DiskCall<void>): Promise<void> {
    await this.#disk.call(thread, call).catch((thrown) => {
      throw baseError(thrown);
    });
  }

  #reader(store: BaseStore): BaseStore {
    return {
      close: () => store.close(),
      snapshot: () => {
        const snapshot = store.snapshot();
        return {
          find: (key) => {
            this.finds++;
            return snapshot.find(key);
          },
          get value() {
            return snapshot.value;
          },
          scan: (from, to) => snapshot.scan(from, to),
          release: () => snapshot.release(),
        };
      },
    };
  }

  async #writable(thread: SimThread, path: string): Promise<WritableBaseStore> {
    const store = await this.#stores.openWritable(path);
    const base = this.#bases.get(path) ?? { writer: undefined, isUnsynced: false, isDamaged: false };
    this.#bases.set(path, base);
    base.writer = thread;
    return {
      snapshot: () => store.snapshot(),
      stats: () => store.stats(),
      checkReaders: () => store.checkReaders(),
      write: (changes) => {
        if (!thread.alive) return;
        try {
          this.#disk.atOnce(path, () => this.#disk.reserve(path, 1));
        } catch (thrown) {
          throw baseError(thrown);
        }
        store.write(changes);
        base.isUnsynced = true;
        this.#written();
      },
      sync: () =>
        this.#call(thread, {
          label: 'base.sync',
          path,
          sync: true,
          whole: () => {
            // Closed meanwhile: nobody waits for it.
            store.sync().catch(() => {});
            base.isUnsynced = false;
          },
        }),
      close: async () => {
        if (!thread.alive) return;
        base.writer = undefined;
        await store.close();
      },
    };
  }

  #written(): void {
    this.writes++;
    const due = this.#afterWrites.filter((waiting) => --waiting.left === 0);
    this.#afterWrites = this.#afterWrites.filter(({ left }) => left > 0);
    for (const { fn } of due) fn();
  }

  #release(path: string, base: SimBase): void {
    base.writer = undefined;
    this.#stores.kill(path);
  }

  #powerCut(): void {
    for (const [path, base] of this.#bases) {
      this.#release(path, base);
      if (!base.isUnsynced) continue;
      base.isUnsynced = false;
      const fate = this.#random.below(6);
      if (fate === 0) base.isDamaged = true;
      else if (fate > 1) this.#stores.powerCut(path, fate === 2 ? undefined : () => this.#random.chance(0.5));
    }
  }
}

/** What a base says when its disk fails. */
function baseError(cause: unknown): MillraceError {
  const { code, message } = MillraceError.from(cause);
  return new MillraceError('unavailable', code === 'DISK_FULL' ? 'BASE_FULL' : 'BASE_UNAVAILABLE', message, { cause });
}
