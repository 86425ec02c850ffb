import { equal, notEqual, ok } from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { ownThread, threadIsGone } from './thread-identity.js';

const HELPER = fileURLToPath(new URL('./thread-identity.test.support.js', import.meta.url));
const knowsThreads = /^\S+ \d+ \d+ \d+$/.test(ownThread());

test('this thread is not gone, and is called the same at every time', () => {
  equal(ownThread(), ownThread());
  ok(Buffer.byteLength(ownThread()) <= 95, ownThread());
  equal(threadIsGone(ownThread()), false);
});

test('a process that is stopped is not gone; one that was killed is', async (t) => {
  const child = fork(HELPER);
  t.after(() => child.kill('SIGKILL'));
  const [thread] = await once(child, 'message');
  notEqual(thread, ownThread());
  equal(threadIsGone(thread), false);
  child.kill('SIGSTOP');
  while (knowsThreads && !/\) T/.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8')));
  equal(threadIsGone(thread), false, 'it may be woken');
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  equal(threadIsGone(thread), true);
});

test('a thread is gone when it was terminated, though its process lives, where threads are told apart', async (t) => {
  const [first, second] = [new Worker(HELPER), new Worker(HELPER)];
  t.after(() => Promise.all([first.terminate(), second.terminate()]));
  const [[one], [two]] = await Promise.all([once(first, 'message'), once(second, 'message')]);
  equal(one === two, !knowsThreads);
  equal(threadIsGone(one), false);
  await first.terminate();
  equal(threadIsGone(one), knowsThreads);
  equal(threadIsGone(two), false);
});

test('what cannot be known is not said to be gone; a later thread of the same number is another one', () => {
  for (const thread of ['', 'nobody', 'a b c d', '  ', `${ownThread().split(' ')[0]} 0 0 0`]) {
    equal(threadIsGone(thread), false, thread);
  }
  const [namespace, pid, tid, started] = ownThread().split(' ');
  equal(threadIsGone(`pid:[1] ${pid} ${tid} ${started}`), false, 'of another container');
  if (knowsThreads) equal(threadIsGone(`${namespace} ${pid} ${tid} ${Number(started) - 1}`), true);
});
