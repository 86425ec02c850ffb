import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { seededRandom } from '../../base/index.js';
import { Backoff } from '../blob/backoff.js';
import { ByteLru } from '../blob/byte-lru.js';
import { JumpingClock } from '../blob/jumping-clock.test.support.js';
import { ByteThrottle } from './byte-throttle.js';
import { ChangeSignal } from './change-signal.js';
import { KeyedLock } from './keyed-lock.js';

describe('byte LRU', () => {
  it('holds the newest that fit, as a list would', () => {
    const command = fc.record({
      what: fc.constantFrom('set', 'set', 'get', 'delete', 'prefix'),
      key: fc.constantFrom('a', 'a\n1', 'a\n2', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
      bytes: fc.integer({ min: 0, max: 14 }),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const lru = new ByteLru(80);
        let model: { key: string; bytes: Uint8Array }[] = [];
        for (const { what, key, bytes } of commands) {
          const known = model.find((entry) => entry.key === key);
          const others = model.filter((entry) => entry.key !== key);
          if (what === 'get') {
            equal(lru.get(key), known?.bytes);
            if (known !== undefined) model = [...others, known];
          } else if (what === 'set') {
            const array = new Uint8Array(bytes);
            lru.set(key, array);
            model = bytes <= 10 ? [...others, { key, bytes: array }] : others;
            while (model.reduce((sum, entry) => sum + entry.bytes.length, 0) > 80) model.shift();
          } else if (what === 'delete') {
            lru.delete(key);
            model = others;
          } else {
            lru.deletePrefix(`${key}\n`);
            model = model.filter((entry) => !entry.key.startsWith(`${key}\n`));
          }
          equal(
            lru.bytes,
            model.reduce((sum, entry) => sum + entry.bytes.length, 0),
          );
        }
      }),
    );
  });
});

describe('byte throttle', () => {
  it('lets no more begin than may, and does not save up what was not used', () => {
    const clock = new JumpingClock();
    const throttle = new ByteThrottle(clock, 1_000);
    deepEqual(
      [500, 2_000, 100, 0].map((bytes) => throttle.book(bytes)),
      [0, 500, 2_500, 2_600],
    );
    clock.timeMs = 60_000;
    deepEqual(
      [1_000, 1].map((bytes) => throttle.book(bytes)),
      [0, 1_000],
    );
    const free = new ByteThrottle(clock, Number.POSITIVE_INFINITY);
    deepEqual(
      [1e12, 1e12].map((bytes) => free.book(bytes)),
      [0, 0],
    );
  });
});

describe('backoff', () => {
  it('doubles up to its bound, between half and all of it', () => {
    const backoff = new Backoff({ clock: new JumpingClock(), random: seededRandom(3), firstMs: 100, maxMs: 1_000 });
    for (let failures = 1; failures < 2_000; failures++) {
      const nominal = Math.min(1_000, 100 * 2 ** Math.min(failures - 1, 10));
      const delayMs = backoff.delayMs(failures);
      ok(delayMs >= nominal / 2 && delayMs <= nominal, `${delayMs} after ${failures}`);
    }
  });

  it('waits until it is closed, and then not at all', async () => {
    const clock = new JumpingClock();
    const backoff = new Backoff({ clock, random: seededRandom(3), firstMs: 100, maxMs: 1_000 });
    equal(await backoff.wait(500), true);
    equal(clock.timeMs, 500);
    clock.schedule(100, () => backoff.close());
    equal(await backoff.wait(10_000), false);
    equal(await backoff.wait(10_000), false);
    equal(clock.timeMs, 600);
    equal(backoff.closed, true);
  });
});

describe('keyed lock', () => {
  it('runs one thing of a key at a time, in order, also after one that failed, and keys apart', async () => {
    const clock = new JumpingClock();
    const lock = new KeyedLock();
    const log: string[] = [];
    const wait = (ms: number) => new Promise<void>((resolve) => clock.schedule(ms, resolve));
    const run = (key: string, name: string, ms: number, fails = false) =>
      lock.run(key, async () => {
        log.push(`+${name}`);
        await wait(ms);
        log.push(`-${name}`);
        if (fails) throw new Error(name);
        return name;
      });
    const results = Promise.allSettled([
      run('a', 'a1', 10, true),
      run('a', 'a2', 1),
      run('b', 'b1', 5),
      run('a', 'a3', 1),
    ]);
    await lock.idle();
    deepEqual(log, ['+a1', '+b1', '-b1', '-a1', '+a2', '-a2', '+a3', '-a3']);
    deepEqual(
      (await results).map((r) => (r.status === 'fulfilled' ? r.value : 'failed')),
      ['failed', 'a2', 'b1', 'a3'],
    );
    await lock.idle();
  });
});

describe('change signal', () => {
  it('wakes all who wait, and looks before it waits', async () => {
    const signal = new ChangeSignal();
    let n = 0;
    const seen: number[] = [];
    const waits = [1, 2, 2].map((wanted) => signal.until(() => n >= wanted).then(() => seen.push(n)));
    n = 1;
    signal.notify();
    await waits[0];
    n = 2;
    signal.notify();
    await Promise.all(waits);
    deepEqual(seen, [1, 2, 2]);
    await signal.until(() => true);
  });
});
