import { deepEqual, equal, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { inParallel } from './in-parallel.js';

/** Work that ends when it is told to. */
function gates() {
  const open: (() => void)[] = [];
  return { open, pass: () => new Promise<void>((resolve) => open.push(resolve)) };
}

const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

test('results stand in the order of items, and no more than so many are under way', async () => {
  const { open, pass } = gates();
  let under = 0;
  let most = 0;
  const done = inParallel([1, 2, 3, 4, 5], 2, async (item, at) => {
    most = Math.max(most, ++under);
    await pass();
    under--;
    return item * 10 + at;
  });
  await settle();
  for (const at of [1, 0, 2, 4, 3]) {
    open[at]?.();
    await settle();
  }
  deepEqual(await done, [10, 21, 32, 43, 54]);
  equal(most, 2);
  deepEqual(await inParallel([], 2, async () => 1), []);
});

test('after a failure nothing is started, and what was started has ended', async () => {
  const { open, pass } = gates();
  const log: string[] = [];
  const done = inParallel(['a', 'b', 'c'], 2, async (item) => {
    log.push(`${item} begins`);
    if (item === 'a') throw new Error('a fails');
    await pass();
    log.push(`${item} ends`);
  });
  const failed = rejects(done, /a fails/).then(() => log.push('rejected'));
  await settle();
  deepEqual(log, ['a begins', 'b begins']);
  open[0]?.();
  await failed;
  deepEqual(log, ['a begins', 'b begins', 'b ends', 'rejected']);
});

test('after an abort nothing is started', async () => {
  const stop = new AbortController();
  const begun: number[] = [];
  const done = inParallel(
    [1, 2, 3],
    1,
    async (item) => {
      begun.push(item);
      if (item === 2) stop.abort();
    },
    stop.signal,
  );
  await rejects(done, { code: 'STOPPED', kind: 'closed' });
  deepEqual(begun, [1, 2]);
});
