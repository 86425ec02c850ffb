import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from '../../base/index.js';
import { isLockFile, lockFolder } from './folder-lock.js';
import { makeFolder } from './make-folder.js';

/** What a state folder says of itself; checked before anything in it is touched. */
interface StateFolderInfo {
  readonly format: number;
  readonly job: string;
  /** Code and parameters of the job whose state this is. */
  readonly fingerprint: string;
}

const FORMAT = 1;
/** What makes a folder one of these. */
export const STATE_FOLDER_INFO = 'millrace.json';

/**
 * A job's durable folder: `checkpoints/` (the blob store), `artefacts/`, and who uses it now. One run at a time: the lock names its
 * process, and a dead process's lock is taken over.
 */
export class StateFolder {
  readonly path: string;
  readonly checkpoints: string;
  readonly artefacts: string;
  /** What the daemon keeps there of completed checkpoints, so that tasks need not fetch them; a cache. */
  readonly hostState: string;
  #unlock: () => void = () => {};

  private constructor(path: string) {
    this.path = path;
    this.checkpoints = join(path, 'checkpoints');
    this.artefacts = join(path, 'artefacts');
    this.hostState = join(path, 'host-state');
  }

  /**
   * @throws MillraceError `STATE_DIR_IN_USE`, `STATE_DIR_VERSION`, `STATE_DIR_OTHER_JOB`, `STATE_DIR_FOREIGN` (invalid), `STATE_DIR_UNUSABLE`
   *   (unavailable), each naming the folder and what to do.
   */
  static claim(path: string, job: string, fingerprint: string): StateFolder {
    const folder = new StateFolder(path);
    try {
      makeFolder(path);
      folder.#unlock = lockFolder(path, (owner) => folder.#inUse(owner));
      try {
        folder.#checkInfo(job, fingerprint);
        mkdirSync(folder.checkpoints, { recursive: true });
        mkdirSync(folder.artefacts, { recursive: true });
      } catch (thrown) {
        folder.release();
        throw thrown;
      }
    } catch (thrown) {
      if (thrown instanceof MillraceError) throw thrown;
      throw new MillraceError(
        'unavailable',
        'STATE_DIR_UNUSABLE',
        `state directory ${path}: ${(thrown as Error).message}`,
        { cause: thrown },
      );
    }
    return folder;
  }

  /**
   * Keeps runs away from a state directory, whosever job's it is. Returns how to let them.
   * @throws MillraceError `STATE_DIR_IN_USE` (invalid).
   */
  static lock(path: string): () => void {
    return lockFolder(path, (owner) => new StateFolder(path).#inUse(owner));
  }

  release(): void {
    this.#unlock();
  }

  #inUse(owner: string): MillraceError {
    const message = `state directory ${this.path} is in use by ${owner}; stop it, or choose another with --state-dir`;
    return new MillraceError('invalid', 'STATE_DIR_IN_USE', message);
  }

  #checkInfo(job: string, fingerprint: string): void {
    const path = join(this.path, STATE_FOLDER_INFO);
    if (!existsSync(path)) {
      const foreign = readdirSync(this.path).find((name) => !isLockFile(name));
      if (foreign !== undefined) {
        throw new MillraceError(
          'invalid',
          'STATE_DIR_FOREIGN',
          `${this.path} is no state directory of Millrace's and is not empty (it has '${foreign}'); choose another --state-dir`,
        );
      }
      const info: StateFolderInfo = { format: FORMAT, job, fingerprint };
      writeFileSync(path, `${JSON.stringify(info)}\n`);
      return;
    }
    let info: Partial<StateFolderInfo> = {};
    try {
      info = JSON.parse(readFileSync(path, 'utf8')) as Partial<StateFolderInfo>;
    } catch {
      // A torn or foreign file says nothing we know; the version check below names it.
    }
    if (info.format !== FORMAT) {
      throw new MillraceError(
        'invalid',
        'STATE_DIR_VERSION',
        `state directory ${this.path} was left by another version of Millrace (format ${info.format ?? 'unreadable'}, this is ${FORMAT}); use that version, or another --state-dir`,
      );
    }
    if (info.job !== job || info.fingerprint !== fingerprint) {
      throw new MillraceError(
        'invalid',
        'STATE_DIR_OTHER_JOB',
        `state directory ${this.path} holds the state of ${info.job === job ? 'another version or other parameters of this job' : `job '${info.job}'`}; choose another --state-dir`,
      );
    }
  }
}
