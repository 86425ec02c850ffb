import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { memoryBackedFolder, sleep, systemClock } from '../base/index.js';

/** What a test may use; all of it is checked when the test ends, and then removed. */
export interface TestGround {
  /** Memory-backed: for regions. */
  readonly memoryFolder: string;
  /** For sockets and files. */
  readonly folder: string;
  /** Processes the test started, for which it is answerable; those that still run are killed. */
  readonly children: ChildProcess[];
}

/**
 * Gives a test its folders, and fails it when it ends with something left: a file other than the service's own regions in
 * the memory folder, any socket or file, a descriptor or a mapping of this process into either folder, a socket that was
 * not open before, or a child that neither ended nor was listed in `children`.
 */
export function leavesNothing(t: TestContext): TestGround {
  const before = socketsOpen();
  const children: ChildProcess[] = [];
  const childrenBefore = new Set(childrenOf(process.pid));
  const memoryFolder = mkdtempSync(join(memoryBackedFolder() ?? tmpdir(), 'millrace-shuffle-test-'));
  const folder = mkdtempSync(join(tmpdir(), 'millrace-shuffle-test-'));
  t.after(async () => {
    try {
      await ended(children);
      const left = await settled(() => [
        ...filesIn(memoryFolder).filter((file) => !SERVICE_REGIONS.includes(file)),
        ...filesIn(folder),
        ...mappingsOf(memoryFolder),
        ...descriptorsOf([memoryFolder, folder]),
        ...childrenOf(process.pid)
          .filter((pid) => !childrenBefore.has(pid))
          .map((pid) => `process ${pid}`),
        ...(socketsOpen() > before ? [`${socketsOpen() - before} sockets`] : []),
      ]);
      assert.deepEqual(left, [], `"${t.name}" left ${left.length} things behind: ${left.join(', ')}`);
    } finally {
      for (const place of [memoryFolder, folder]) rmSync(place, { recursive: true, force: true });
    }
  });
  return { memoryFolder, folder, children };
}

/** What a service keeps for the next one: its arena and its counter of doorbells. */
const SERVICE_REGIONS: readonly string[] = ['shuffle-arena', 'shuffle-doorbells'];
const SETTLE_MS_MAX = 5000;

/** What is closed ends a few turns of the event loop later: looks again before it complains. */
async function settled(look: () => readonly string[]): Promise<readonly string[]> {
  for (const endMs = performance.now() + SETTLE_MS_MAX; ; ) {
    const left = look();
    if (left.length === 0 || performance.now() > endMs) return left;
    await sleep(systemClock(), 10);
  }
}

async function ended(children: readonly ChildProcess[]): Promise<void> {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true }).map(String);
}

function mappingsOf(folder: string): string[] {
  return readProc('self/maps')
    .split('\n')
    .filter((line) => line.includes(folder));
}

function descriptors(): string[] {
  return listProc('self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the one that listed them
    }
  });
}

function descriptorsOf(folders: readonly string[]): string[] {
  return descriptors().filter((target) => folders.some((folder) => target.startsWith(folder)));
}

function socketsOpen(): number {
  return descriptors().filter((target) => target.startsWith('socket:')).length;
}

function childrenOf(pid: number): string[] {
  return listProc(`${pid}/task`).flatMap((task) =>
    readProc(`${pid}/task/${task}/children`)
      .split(' ')
      .filter((child) => child !== '' && !/\) Z/.test(readProc(`${child}/stat`))),
  );
}

function listProc(path: string): string[] {
  try {
    return readdirSync(`/proc/${path}`);
  } catch {
    return [];
  }
}

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return '';
  }
}
