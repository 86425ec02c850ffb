import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDead, MillraceError, ownIdentity, type ProcessIdentity } from '../../base/index.js';

/** What a state folder says of itself; checked before anything in it is touched. */
interface StateFolderInfo {
  readonly format: number;
  readonly job: string;
  /** Code and parameters of the job whose state this is. */
  readonly fingerprint: string;
}

const FORMAT = 1;
const INFO = 'millrace.json';
const LOCK = 'owner.json';

/**
 * A job's durable folder: `checkpoints/` (the blob store), `artefacts/`, and who uses it now. One run at a time: the lock names its
 * process, and a dead process's lock is taken over.
 */
export class StateFolder {
  readonly path: string;
  readonly checkpoints: string;
  readonly artefacts: string;

  private constructor(path: string) {
    this.path = path;
    this.checkpoints = join(path, 'checkpoints');
    this.artefacts = join(path, 'artefacts');
  }

  /**
   * @throws MillraceError `STATE_DIR_IN_USE`, `STATE_DIR_VERSION`, `STATE_DIR_OTHER_JOB`, `STATE_DIR_FOREIGN` (invalid), `STATE_DIR_UNUSABLE`
   *   (unavailable), each naming the folder and what to do.
   */
  static claim(path: string, job: string, fingerprint: string): StateFolder {
    const folder = new StateFolder(path);
    try {
      mkdirSync(path, { recursive: true });
      folder.#lock();
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

  release(): void {
    rmSync(join(this.path, LOCK), { force: true });
  }

  #lock(): void {
    const lock = join(this.path, LOCK);
    const mine = join(this.path, `.${LOCK}-${process.pid}`);
    writeFileSync(mine, JSON.stringify(ownIdentity()));
    try {
      for (let attempt = 0; attempt < 3; attempt++) {
        try {
          linkSync(mine, lock); // fails when somebody else has it: a compare-and-create
          return;
        } catch (thrown) {
          if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
        }
        const owner = readOwner(lock);
        if (owner !== undefined && !isDead(owner)) {
          throw new MillraceError(
            'invalid',
            'STATE_DIR_IN_USE',
            `state directory ${this.path} is in use by process ${owner.pid}; stop it, or choose another with --state-dir`,
          );
        }
        rmSync(lock, { force: true });
      }
      throw new MillraceError(
        'unavailable',
        'STATE_DIR_IN_USE',
        `state directory ${this.path}: several runs are starting in it at once`,
      );
    } finally {
      rmSync(mine, { force: true });
    }
  }

  #checkInfo(job: string, fingerprint: string): void {
    const path = join(this.path, INFO);
    if (!existsSync(path)) {
      const foreign = readdirSync(this.path).find((name) => name !== LOCK && !name.startsWith(`.${LOCK}-`));
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

function readOwner(lock: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
