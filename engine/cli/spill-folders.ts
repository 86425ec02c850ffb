import { resolve } from 'node:path';
import { MillraceError } from '../../base/index.js';
import { lockFolder } from './folder-lock.js';
import { makeFolder } from './make-folder.js';

/** Folders for spilled buffers that outlive their daemon, one on each disk. One daemon at a time. */
export class SpillFolders {
  readonly paths: readonly string[];
  readonly #releases: (() => void)[] = [];

  private constructor(paths: readonly string[]) {
    this.paths = paths;
  }

  /** @throws MillraceError `SPILL_DIR_UNUSABLE`, `SPILL_DIR_IN_USE` (invalid), naming the folder. */
  static claim(folders: readonly string[]): SpillFolders {
    const claimed = new SpillFolders([...new Set(folders.map((folder) => resolve(folder)))]);
    try {
      for (const path of claimed.paths) claimed.#lock(path);
    } catch (thrown) {
      claimed.release();
      throw thrown;
    }
    return claimed;
  }

  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }

  #lock(path: string): void {
    const inUse = (owner: string) =>
      refused('SPILL_DIR_IN_USE', `${path} is in use by ${owner}; stop it, or choose another folder`);
    try {
      makeFolder(path);
      this.#releases.push(lockFolder(path, inUse));
    } catch (thrown) {
      if (thrown instanceof MillraceError) throw thrown;
      throw refused('SPILL_DIR_UNUSABLE', `${path}: ${(thrown as Error).message}`);
    }
  }
}

function refused(code: string, why: string): MillraceError {
  return new MillraceError('invalid', code, `--spill-dir: ${why}`);
}
