import { readFileSync, readlinkSync } from 'node:fs';

/** What tells a process from a later one with the same id. Plain data, for owner files. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat; '' where there is no /proc. */
  readonly startTime: string;
  readonly bootId: string;
  readonly pidNamespace: string;
}

/** This process. */
export function ownIdentity(): ProcessIdentity {
  return { pid: process.pid, startTime: startTime(process.pid), bootId: bootId(), pidNamespace: pidNamespace() };
}

/**
 * Whether that very process is gone: no such id, another start time, or an earlier boot. False for one of another pid
 * namespace (a container that shares our files): it cannot be judged from here.
 */
export function isDead(owner: ProcessIdentity): boolean {
  if (owner.bootId !== bootId()) return true;
  if (owner.pidNamespace !== pidNamespace()) return false;
  return !processIsAlive(owner.pid) || startTime(owner.pid) !== owner.startTime;
}

/** Whether a process with this id runs here; a zombie does not. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const state = statFields(pid)[0];
  return state !== 'Z' && state !== 'X';
}

function startTime(pid: number): string {
  return statFields(pid)[19] ?? '';
}

/** From field 3 (the state) on: field 2 is the command in parentheses and may hold anything, so count from the last ')'. */
function statFields(pid: number): string[] {
  const stat = readOr('', () => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function bootId(): string {
  return readOr('', () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
}

function pidNamespace(): string {
  return readOr('', () => readlinkSync('/proc/self/ns/pid'));
}

function readOr(otherwise: string, read: () => string): string {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
