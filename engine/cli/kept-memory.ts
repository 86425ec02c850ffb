import { resolve } from 'node:path';
import { MillraceError, memoryBackedFolder } from '../../base/index.js';
import { lockFolder } from './folder-lock.js';
import { makeFolder } from './make-folder.js';

/** A memory-backed folder whose buffers outlive their daemon: the next one on it finds all logs again. One daemon at a time. */
export class KeptMemory {
  readonly path: string;
  readonly release: () => void;

  private constructor(path: string, release: () => void) {
    this.path = path;
    this.release = release;
  }

  /** @throws MillraceError `NO_MEMORY_FOLDER`, `MEMORY_FOLDER_IN_USE` (invalid), naming the folder. */
  static claim(folder: string): KeptMemory {
    const path = resolve(folder);
    try {
      makeFolder(path);
    } catch (thrown) {
      throw refused('NO_MEMORY_FOLDER', `${path}: ${(thrown as Error).message}`);
    }
    if (memoryBackedFolder(path) === undefined)
      throw refused('NO_MEMORY_FOLDER', `${path} is not memory-backed (tmpfs)`);
    const inUse = (owner: string) =>
      refused('MEMORY_FOLDER_IN_USE', `${path} is in use by ${owner}; stop it, or choose another folder`);
    return new KeptMemory(path, lockFolder(path, inUse));
  }
}

function refused(code: string, why: string): MillraceError {
  return new MillraceError('invalid', code, `--memory-folder: ${why}`);
}
