import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { memoryBackedFolder } from '../base/index.js';
import { leavesNothing, type TestGround } from './leftovers.test.support.js';
import type { ThreadDeaths } from './thread-deaths-run.test.support.js';

const RUN = fileURLToPath(new URL('./thread-deaths-run.test.support.js', import.meta.url));
/** `node dist/shuffle/thread-deaths.test.js 1000` for more of them. */
const DEATHS = Number(process.argv[2] ?? 60);
/**
 * A thread that is terminated just while koffi is in native code takes its process with it, now and then: koffi throws where nothing can be
 * thrown any more. Such a process is replaced like any that dies; what is looked at here is what threads leave in one that lives.
 */
const KILLED_BY_KOFFI = /FATAL ERROR: Error::ThrowAsJavaScriptException napi_throw/;
const ATTEMPTS = 10;
/** Otherwise the heap for young objects shrinks and grows by some twenty mappings, as it likes. */
const STEADY_HEAP = '--max-semi-space-size=1';

if (memoryBackedFolder() !== undefined) {
  test('threads terminated while they map, write or read leave memory, descriptors, slots and files where they were', async (t) => {
    const ground = leavesNothing(t);
    let said: ThreadDeaths | undefined;
    for (let attempt = 1; said === undefined; attempt++) {
      assert.ok(attempt <= ATTEMPTS, `koffi ended ${ATTEMPTS} processes in a row`);
      said = await inProcess(ground);
      if (said === undefined) t.diagnostic('koffi ended the process');
    }
    const { before, after, slots } = said;
    // Stacks and heaps of threads come and go by a few lines; what a thread leaves would be one line or more each.
    assert.ok(after.maps < before.maps + DEATHS / 3, `${before.maps} lines of /proc/self/maps, then ${after.maps}`);
    assert.deepEqual({ ...after, maps: 0 }, { ...before, maps: 0 });
    assert.equal(after.freeSlots, slots);
    t.diagnostic(`${DEATHS} deaths: ${before.maps} lines of /proc/self/maps, then ${after.maps}`);
  });
}

/** Undefined when koffi ended it; then what it had in memory goes here. */
async function inProcess({ memoryFolder, children }: TestGround): Promise<ThreadDeaths | undefined> {
  const args = [STEADY_HEAP, RUN, memoryFolder, String(DEATHS)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code === 0) return JSON.parse(out) as ThreadDeaths;
  assert.match(err, KILLED_BY_KOFFI, `exit code ${code}: ${err}`);
  for (const file of readdirSync(memoryFolder)) rmSync(join(memoryFolder, file));
  return undefined;
}
