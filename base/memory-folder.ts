import { randomBytes } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from './errors.js';
import { isDead, ownIdentity, type ProcessIdentity, processIsAlive } from './process-identity.js';

/**
 * Run folders: each run owns one folder per place (memory-backed, temporary), and what a killed run left behind is
 * removed by the next start.
 *
 *     <parent>/millrace-<uid>/         0700, ours, no symlink; else nothing in it is touched
 *       <run id>/owner.json            who made it: process, its start time, boot, pid namespace
 *       .claim-<nonce>/                being made: has its owner.json before it gets its name by rename
 *       .dead-<nonce>/                 being removed: renamed first, so that only one sweeper removes it
 *
 * Everything is synchronous, so that it can run while a process exits.
 */

const TMPFS = 0x01021994;
const RAMFS = 0x858458f6;
const OWNER_FILE = 'owner.json';

/** `/dev/shm` where it is memory-backed, else undefined: then memory cannot be mapped between processes. */
export function memoryBackedFolder(folder = '/dev/shm'): string | undefined {
  try {
    const type = statfsSync(folder).type >>> 0;
    return type === TMPFS || type === RAMFS ? folder : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes the folder of a run, owned by this process until it releases it or dies.
 * @throws MillraceError `RUN_FOLDER_EXISTS` (invalid) when the run id is taken, `RUN_FOLDER_UNSAFE` (invalid) when
 * another user could reach into `millrace-<uid>`, `RUN_FOLDER_FAILED` (unavailable).
 */
export function claimRunFolder(parent: string, runId: string): string {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(runId)) {
    throw new MillraceError('invalid', 'RUN_ID_INVALID', `run id "${runId}": use letters, digits, '.', '_' and '-'`);
  }
  const root = rootFolder(parent);
  const claimed = join(root, runId);
  try {
    mkdirSync(root, { mode: 0o700, recursive: true });
    checkSafe(root);
    const unnamed = join(root, `.claim-${process.pid}-${randomBytes(8).toString('hex')}`);
    mkdirSync(unnamed, { mode: 0o700 });
    writeFileSync(join(unnamed, OWNER_FILE), JSON.stringify(ownIdentity()), { mode: 0o600 });
    try {
      renameSync(unnamed, claimed);
    } catch (e) {
      rmSync(unnamed, { recursive: true, force: true });
      throw e;
    }
    return claimed;
  } catch (e) {
    if (e instanceof MillraceError) throw e;
    const code = (e as NodeJS.ErrnoException).code;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') {
      throw new MillraceError('invalid', 'RUN_FOLDER_EXISTS', `run folder ${claimed} is in use`, { cause: e });
    }
    const message = `cannot make run folder ${claimed}: ${(e as Error).message}`;
    throw new MillraceError('unavailable', 'RUN_FOLDER_FAILED', message, { cause: e });
  }
}

/** Removes a claimed folder and all in it. One that is gone already is not an error. */
export function releaseRunFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Removes the folders of runs whose owner is dead: no such process, another start time, or an earlier boot. Folders of
 * another pid namespace (a container that shares the place) cannot be judged and stay. Safe to run at the same time
 * anywhere. Returns the run ids it removed, sorted.
 * @throws MillraceError `RUN_FOLDER_UNSAFE` (invalid).
 */
export function sweepDeadRuns(parent: string): string[] {
  const root = rootFolder(parent);
  if (lstatSync(root, { throwIfNoEntry: false }) === undefined) return [];
  checkSafe(root);
  return readdirSync(root)
    .filter((name) => sweepOne(root, name))
    .sort();
}

function sweepOne(root: string, name: string): boolean {
  const folder = join(root, name);
  const before = lstatSync(folder, { throwIfNoEntry: false });
  if (before === undefined || !isPrivateFolder(before)) return false;
  if (name.startsWith('.dead-')) {
    removeTree(folder);
    return false;
  }
  if (!ownerIsDead(folder, name)) return false;
  const dead = join(root, `.dead-${randomBytes(8).toString('hex')}`);
  try {
    renameSync(folder, dead);
  } catch {
    return false; // another sweeper has it
  }
  if (lstatSync(dead, { throwIfNoEntry: false })?.ino !== before.ino) {
    // It was swept by another and claimed anew in between: give it back.
    renameSync(dead, folder);
    return false;
  }
  removeTree(dead);
  return !name.startsWith('.');
}

/** Two sweepers may be in one `.dead-` folder: whoever loses a race over an entry leaves the rest to the other. */
function removeTree(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // The next sweep finds what is left.
  }
}

function ownerIsDead(folder: string, name: string): boolean {
  let owner: ProcessIdentity;
  try {
    owner = JSON.parse(readFileSync(join(folder, OWNER_FILE), 'utf8')) as ProcessIdentity;
  } catch {
    // Killed between making the folder and writing its owner: the name tells the process.
    const claiming = /^\.claim-(\d+)-/.exec(name);
    return claiming !== null && !processIsAlive(Number(claiming[1]));
  }
  return typeof owner.pid === 'number' && isDead(owner);
}

function rootFolder(parent: string): string {
  return join(parent, `millrace-${userId()}`);
}

function userId(): number {
  return process.getuid?.() ?? 0;
}

function isPrivateFolder(stat: { isDirectory(): boolean; uid: number; mode: number }): boolean {
  return stat.isDirectory() && stat.uid === userId() && (stat.mode & 0o077) === 0;
}

function checkSafe(root: string): void {
  if (isPrivateFolder(lstatSync(root))) return;
  const message = `${root} is not a folder that only this user can enter: remove it, or choose another place`;
  throw new MillraceError('invalid', 'RUN_FOLDER_UNSAFE', message, { context: { path: root } });
}
