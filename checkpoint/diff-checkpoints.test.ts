import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../base/index.js';
import { DyingStore } from './blob/dying-store.test.support.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { breathe, CheckpointedJob, type Contents } from './checkpointed-job.test.support.js';
import { diffCheckpoints, type StateDiff } from './diff-checkpoints.js';
import type { Manifest } from './manifest.js';
import { writeSavepoint } from './savepoint/write-savepoint.js';

/** What the models say, as `task/state: added changed removed`. */
function expected(before: Contents, after: Contents): string[] {
  const counts = new Map<string, [number, number, number]>();
  const count = (name: string, which: 0 | 1 | 2) => {
    const [task, , state] = name.split('/');
    const key = `${task}/${state}`;
    const found = counts.get(key) ?? [0, 0, 0];
    counts.set(key, found);
    found[which]++;
  };
  for (const [name, value] of after) {
    if (!before.has(name)) count(name, 0);
    else if (before.get(name) !== value) count(name, 1);
  }
  for (const name of before.keys()) if (!after.has(name)) count(name, 2);
  return [...counts].map(([name, numbers]) => `${name}: ${numbers.join(' ')}`).sort();
}

/** Without the operator value, which counts as one. */
function told(diffs: readonly StateDiff[]): string[] {
  return diffs
    .map(({ task, state, added, changed, removed, changes }) => {
      const values = changes.filter((c) => c.key.length === 0);
      equal(values.length, state.name === 'names' ? 1 : 0);
      return `${task}/${state.name}: ${added} ${changed - values.length} ${removed}`;
    })
    .filter((line) => !line.endsWith(': 0 0 0'))
    .sort();
}

describe('the difference of two checkpoints', () => {
  it('is that of what they hold: between any two, and both ways', async () => {
    const seed = 61;
    for (let round = 0; round < 12; round++) {
      const store = new MemoryBlobStore();
      const random = seededRandom(seed + round);
      const job = await CheckpointedJob.start(store, { random, retained: 6 });
      const manifests: Manifest[] = [];
      for (let i = 0; i < 5; i++) manifests.push(await job.checkpoint({ changes: 40, inline: i % 2 === 1 }));
      const place = (id: number) => ({ store, manifest: manifests[id - 1] as Manifest });
      for (const [a, b] of [
        [1, 2],
        [1, 5],
        [5, 2],
      ] as const) {
        const diffs = await diffCheckpoints(place(a), place(b), { changesMax: 1000, breathe });
        const [before, after] = [job.contents.get(a) as Contents, job.contents.get(b) as Contents];
        deepEqual(told(diffs), expected(before, after), `seed ${seed + round}, ${a} to ${b}`);
        for (const { task, state, changes, added, changed, removed } of diffs) {
          equal(changes.length, added + changed + removed);
          for (const change of changes.filter((c) => c.key.length > 0)) {
            const name = `${task}/${change.keyGroup}/${state.name}/${Buffer.from(change.key)}`;
            equal(change.before && Buffer.from(change.before).toString(), before.get(name));
            equal(change.after && Buffer.from(change.after).toString(), after.get(name));
          }
        }
      }
      deepEqual(await diffCheckpoints(place(3), place(3), { breathe }), []);
    }
  });

  it('of a checkpoint and a savepoint of it is none, and a task of one alone is all added or all removed', async () => {
    const store = new MemoryBlobStore();
    const job = await CheckpointedJob.start(store, { random: seededRandom(3) });
    await job.checkpoint();
    const manifest = await job.checkpoint();
    const other = new MemoryBlobStore();
    const savepoint = await writeSavepoint(store, manifest, other, { random: seededRandom(1), breathe });
    const copy = { store: other, manifest: savepoint.manifest };
    deepEqual(await diffCheckpoints({ store, manifest }, copy, { breathe }), []);
    const fewer = { store, manifest: { ...manifest, tasks: manifest.tasks.slice(1) } };
    const entries = [...(job.contents.get(2) as Contents).keys()].filter((n) => n.startsWith('task-0/'));
    const sum = (diffs: readonly StateDiff[], what: 'added' | 'removed' | 'changed') =>
      diffs.reduce((total, diff) => total + diff[what], 0);
    // And the one operator value.
    const removed = await diffCheckpoints(copy, fewer, { breathe });
    deepEqual([sum(removed, 'removed'), sum(removed, 'added'), sum(removed, 'changed')], [entries.length + 1, 0, 0]);
    const added = await diffCheckpoints(fewer, copy, { breathe });
    deepEqual([sum(added, 'removed'), sum(added, 'added')], [0, entries.length + 1]);
    ok(added.every((d) => d.task === 'task-0' && d.changes.length === 0));
    deepEqual(
      added.map((d) => d.addedBytes),
      removed.map((d) => d.removedBytes),
    );
  });

  it('reads nothing of tasks whose segments are the same', async () => {
    const store = new MemoryBlobStore();
    const job = await CheckpointedJob.start(store, { random: seededRandom(3) });
    const one = await job.checkpoint();
    const two = await job.checkpoint();
    const mixed = { ...two, tasks: [one.tasks[0], two.tasks[1]] } as Manifest;
    const counting = new DyingStore(store);
    const place = (manifest: Manifest) => ({ store: counting, manifest });
    const diffs = await diffCheckpoints(place(one), place(mixed), { breathe });
    ok(diffs.length > 0 && diffs.every((d) => d.task === 'task-1'));
    counting.calls = 0;
    await diffCheckpoints(place(one), place(one), { breathe });
    equal(counting.calls, 0);
    await rejects(diffCheckpoints(place(one), place(two), { breathe, signal: AbortSignal.abort() }), {
      code: 'STOPPED',
    });
  });
});
