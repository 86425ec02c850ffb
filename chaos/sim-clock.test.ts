import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom, sleep, yieldTurn } from '../base/index.js';
import { SimClock } from './sim-clock.js';
import { SimThread } from './sim-thread.js';
import { Trace } from './trace.js';

function newClock(seed = 1): SimClock {
  return new SimClock(seededRandom(seed), new Trace());
}

describe('SimClock', () => {
  it('jumps to the next event, in order of time', async () => {
    const clock = newClock();
    const seen: number[] = [];
    for (const delayMs of [500, 3, 86_400_000, 3, 0]) clock.at(delayMs, 'x', () => seen.push(clock.timeMs));
    assert.deepEqual(await clock.run(), { reason: 'idle', events: 5 });
    assert.deepEqual(seen, [0, 3, 3, 500, 86_400_000]);
  });

  it('lets promise chains of any depth settle before the next event', async () => {
    const clock = newClock();
    let settled = 0;
    const depth = 500;
    const deep = async (n: number): Promise<void> => {
      await undefined;
      await new Promise<void>((resolve) => process.nextTick(resolve));
      await new Promise<void>((resolve) => queueMicrotask(resolve));
      if (n > 0) await deep(n - 1);
    };
    const wrong: number[] = [];
    for (let i = 0; i < 200; i++) {
      clock.at(i < 100 ? i : 100, 'x', () => {
        if (settled !== i) wrong.push(i);
        void deep(depth).then(() => settled++);
      });
    }
    await clock.run();
    assert.deepEqual(wrong, []);
    assert.equal(settled, 200);
  });

  it('stops at a time, at a count, at a predicate, and goes on from there', async () => {
    const clock = newClock();
    let count = 0;
    const again = () => {
      count++;
      clock.at(10, 'x', again);
    };
    clock.at(10, 'x', again);
    assert.deepEqual(await clock.run({ untilMs: 95 }), { reason: 'time', events: 9 });
    assert.equal(clock.timeMs, 95);
    assert.deepEqual(await clock.run({ maxEvents: 5 }), { reason: 'events', events: 5 });
    assert.deepEqual(await clock.run({ until: () => count === 20 }), { reason: 'until', events: 6 });
    assert.equal(clock.timeMs, 200);
  });

  it('keeps the timers and turns of one thread in order, and interleaves threads by seed', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const clock = newClock(seed);
      const random = seededRandom(seed);
      const order: string[] = [];
      for (const name of ['a', 'b', 'c']) {
        const view = clock.processClock(new SimThread(name, 'h', random.u32()));
        for (let i = 0; i < 5; i++) view.schedule(5, () => order.push(`${name}${i}`));
        for (let i = 0; i < 5; i++) view.soon(() => order.push(`${name}-${i}`));
      }
      await clock.run();
      for (const name of ['a', 'b', 'c']) {
        const mine = order.filter((entry) => entry.startsWith(name));
        assert.deepEqual(
          mine,
          [0, 1, 2, 3, 4].map((i) => `${name}-${i}`).concat([0, 1, 2, 3, 4].map((i) => `${name}${i}`)),
        );
      }
      orders.add(order.join());
    }
    assert(orders.size > 10, `only ${orders.size} orders in 20 seeds`);
  });

  it('never runs a cancelled timer, nor one of a dead thread, and defers those of a paused one', async () => {
    const clock = newClock();
    const dead = new SimThread('dead', 'h', 1);
    const paused = new SimThread('paused', 'h', 2);
    const seen: string[] = [];
    clock
      .processClock(dead)
      .schedule(5, () => seen.push('cancelled'))
      .cancel();
    clock.processClock(dead).schedule(10, () => seen.push('dead'));
    clock.processClock(paused).schedule(10, () => seen.push(`paused at ${Math.floor(clock.timeMs)}`));
    clock.at(7, 'x', () => {
      dead.die('kill');
      paused.state = 'paused';
    });
    clock.at(50, 'x', () => clock.resume(paused));
    await clock.run();
    clock.processClock(dead).schedule(1, () => seen.push('dead'));
    await clock.run();
    assert.deepEqual(seen, ['paused at 50']);
  });

  it('keeps a slow thread busy, so that its timers are late while others are not', async () => {
    const clock = newClock();
    const slow = new SimThread('slow', 'h', 1);
    slow.slowdown = 1000;
    let lateMs = 0;
    const view = clock.processClock(slow);
    view.soon(() => {});
    view.schedule(1, () => {
      lateMs = clock.timeMs - 1;
    });
    await clock.run();
    assert(lateMs > 0.9 && lateMs < 60, `${lateMs} ms late`);
  });

  it('lets time pass for a loop that only yields', async () => {
    const clock = newClock();
    const view = clock.processClock(new SimThread('a', 'h', 1));
    let turns = 0;
    const loop = async () => {
      for (;;) {
        await yieldTurn(view);
        turns++;
      }
    };
    void loop();
    assert.equal((await clock.run({ untilMs: 10, maxEvents: 100_000 })).reason, 'time');
    assert(turns > 100);
  });

  it('treats delays as Node does: too small or too large is 1 ms', async () => {
    const clock = newClock();
    const view = clock.processClock(new SimThread('a', 'h', 1));
    const at: number[] = [];
    for (const delayMs of [0, -5, Number.NaN, 2 ** 31]) {
      void sleep(view, delayMs).then(() => at.push(Math.round(clock.timeMs)));
    }
    await clock.run();
    assert.deepEqual(at, [1, 1, 1, 1]);
  });

  it('shows skewed wall time, and monotonic time without skew', async () => {
    const clock = newClock();
    const view = clock.processClock(new SimThread('a', 'h', 1), { skewMs: -7000 });
    await clock.run({ untilMs: 1000 });
    assert.equal(view.now(), clock.epochMs - 6000);
    assert.equal(view.monotonicMs(), 1000);
  });

  it('rejects the run with the first failure', async () => {
    const clock = newClock();
    clock.at(1, 'x', () => {
      throw new Error('first');
    });
    clock.at(2, 'x', () => {
      throw new Error('second');
    });
    await assert.rejects(clock.run(), /first/);
    await assert.rejects(clock.run(), /second/);
    clock.onSettled(() => {
      throw new Error('invariant');
    });
    clock.at(1, 'x', () => {});
    await assert.rejects(clock.run(), /invariant/);
    await assert.rejects(clock.run({ until: () => assert.fail('predicate') as never }), /predicate/);
  });

  it('forgets cancelled timers before they are due', async () => {
    const clock = newClock();
    const view = clock.processClock(new SimThread('a', 'h', 1));
    for (let i = 0; i < 100_000; i++) view.schedule(1e9, () => {}).cancel();
    assert.equal((await clock.run()).events, 0);
    assert.equal(clock.timeMs, 0);
  });
});
