import type { KeyGroups } from '../../checkpoint/index.js';
import { hasCode } from '../../checkpoint/index.js';
import { type BaseRecord, withRange, writeBaseRecord } from './base-record.js';
import type { BaseStores, WritableBaseStore } from './base-store.js';
import { checkedBase } from './checked-base.js';
import { readRecord } from './fold.js';
import type { FolderFiles } from './folder-files.js';
import { basePath } from './overlay-files.js';

/** Followed by the length of the base's file. */
const CLEAN = 'clean ';

/**
 * The base of a state folder, with a mark of whether a power cut would harm it: its file is not synced at every commit, and
 * pages that reach the disk in any order are no base. So before the first change after a sync, the mark says in which boot it
 * is changed; as long as that boot lasts, the page cache has all of it, whoever dies.
 */
export class FolderBase {
  readonly store: WritableBaseStore;
  #record: BaseRecord;
  readonly #files: FolderFiles;
  readonly #bases: BaseStores;
  readonly #bootId: string;
  #isClean: boolean;
  /** Changes one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(
    store: WritableBaseStore,
    { bases, files, bootId }: { readonly bases: BaseStores; readonly files: FolderFiles; readonly bootId: string },
    isClean: boolean,
  ) {
    this.store = store;
    this.#bases = bases;
    this.#files = files;
    this.#bootId = bootId;
    this.#isClean = isClean;
    this.#record = readRecord(store);
  }

  /** Undefined when there is none, or it cannot be trusted. @throws MillraceError `BASE_UNAVAILABLE`; `Disk` errors. */
  static async open(bases: BaseStores, files: FolderFiles, bootId: string): Promise<FolderBase | undefined> {
    const mark = await files.readMark();
    const isClean = mark?.startsWith(CLEAN) === true;
    if (!isClean && mark !== bootId) return undefined;
    const path = basePath(files.root);
    // One that was cut short would take the process with it: pages that are mapped and not there.
    if (isClean && (await bases.fileBytes(path)) < Number(mark.slice(CLEAN.length))) return undefined;
    try {
      const store = await openChecked(bases, path);
      try {
        return new FolderBase(store, { bases, files, bootId }, isClean);
      } catch (thrown) {
        await store.close();
        throw thrown;
      }
    } catch (thrown) {
      if (hasCode(thrown, 'BASE_DAMAGED')) return undefined;
      throw thrown;
    }
  }

  /** A new one in place of what there is. */
  static async create(bases: BaseStores, files: FolderFiles, bootId: string): Promise<FolderBase> {
    await bases.destroy(basePath(files.root));
    const store = await openChecked(bases, basePath(files.root));
    await store.sync();
    const base = new FolderBase(store, { bases, files, bootId }, true);
    await base.#markClean();
    return base;
  }

  /** As it was written last. */
  get record(): BaseRecord {
    return this.#record;
  }

  /** Runs something that may write to the store; no other change meanwhile. */
  change(write: () => void | Promise<void>): Promise<void> {
    return this.#alone(async () => {
      if (this.#isClean) {
        await this.#files.writeMark(this.#bootId);
        this.#isClean = false;
      }
      try {
        await write();
      } finally {
        this.#record = readRecord(this.store);
      }
    });
  }

  /** Changes what it says of itself. */
  changeRecord(change: (record: BaseRecord) => BaseRecord): Promise<void> {
    return this.change(() => this.store.write((transaction) => writeBaseRecord(transaction, change(this.#record))));
  }

  /** Nothing that it has of these key groups counts any more. */
  async giveUp(ranges: readonly KeyGroups[]): Promise<void> {
    if (ranges.length === 0) return;
    await this.changeRecord((record) => ranges.reduce((rest, range) => withRange(rest, range, undefined), record));
  }

  /** From here on it survives a power cut, until it is changed again. */
  settle(): Promise<void> {
    return this.#alone(async () => {
      if (this.#isClean) return;
      await this.store.sync();
      await this.#markClean();
      this.#isClean = true;
    });
  }

  async close(): Promise<void> {
    await this.#last.catch(() => {});
    await this.store.close();
  }

  async #markClean(): Promise<void> {
    await this.#files.writeMark(`${CLEAN}${await this.#bases.fileBytes(basePath(this.#files.root))}`);
  }

  #alone(run: () => Promise<void>): Promise<void> {
    const done = this.#last.then(run, run);
    this.#last = done.catch(() => {});
    return done;
  }
}

async function openChecked(bases: BaseStores, path: string): Promise<WritableBaseStore> {
  return checkedBase(path, await bases.openWritable(path));
}
