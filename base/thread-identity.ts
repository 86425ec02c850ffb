import { readFileSync, readlinkSync } from 'node:fs';
import { ownIdentity, processIsAlive } from './process-identity.js';

/**
 * What tells this thread from every other one of this boot of the machine: opaque text without line breaks, at most 95 bytes.
 * Where the operating system does not say which thread it is (only Linux does), all threads of a process are one.
 */
export function ownThread(): string {
  const { pid, pidNamespace } = ownIdentity();
  const tid = ownThreadId();
  return [pidNamespace, pid, tid, tid === '' ? '' : startTime(pid, tid)].join(' ');
}

/**
 * Whether that very thread has run the last of its code for certain: one that is stopped has not. False where it cannot be known: of
 * another pid namespace, of another user's process that is hidden from this one, and of text that is no thread's.
 */
export function threadIsGone(thread: string): boolean {
  const [namespace, pidText, tid = '', started = ''] = thread.split(' ');
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0 || namespace !== ownIdentity().pidNamespace) return false;
  if (tid !== '') {
    const now = startTime(pid, tid);
    if (now !== '') return now !== started;
    // It is not there, or must not be seen by us: its process then is neither.
    if (startTime(pid, String(pid)) !== '') return true;
  }
  return !processIsAlive(pid);
}

function ownThreadId(): string {
  try {
    return /^\d+\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1] ?? '';
  } catch {
    return '';
  }
}

/** Field 22 of its stat; '' of a thread that is not there, or is dead and only not yet waited for. */
function startTime(pid: number, tid: string): string {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
    // Field 2 is its name in parentheses and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '');
  } catch {
    return '';
  }
}
