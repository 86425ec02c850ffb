import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDead, type MillraceError, ownIdentity, type ProcessIdentity } from '../../base/index.js';

const LOCK = 'owner.json';

/** Whether a file in a locked folder is the lock's own. */
export function isLockFile(name: string): boolean {
  return name === LOCK || name.startsWith(`.${LOCK}-`);
}

/**
 * Makes this process the only user of a folder that others may use after it: the lock names the process, and a dead one's lock
 * is taken over. Returns how to give it back.
 * @throws MillraceError the error that `inUse` makes of the process that has it.
 */
export function lockFolder(folder: string, inUse: (owner: string) => MillraceError): () => void {
  const lock = join(folder, LOCK);
  const mine = join(folder, `.${LOCK}-${process.pid}`);
  writeFileSync(mine, JSON.stringify(ownIdentity()));
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        linkSync(mine, lock); // fails when somebody else has it: a compare-and-create
        return () => rmSync(lock, { force: true });
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
      }
      const owner = readOwner(lock);
      if (owner !== undefined && !isDead(owner)) throw inUse(`process ${owner.pid}`);
      rmSync(lock, { force: true });
    }
    throw inUse('several processes that start at once');
  } finally {
    rmSync(mine, { force: true });
  }
}

function readOwner(lock: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
