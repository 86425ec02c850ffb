import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sleep, yieldTurn } from '../base/index.js';
import type { SimContext } from './sim-process.js';
import { simProcessControl } from './sim-process-control.js';
import { SimWorld } from './sim-world.js';

/** What the world can see of the victim, apart from the trace. */
interface Footprint {
  frames: number;
  readonly log: string[];
}

/**
 * A process that is never still: it sleeps, yields, sends, writes to disk and to memory, and counts each step in both, in
 * shared memory first. `stepped` is told after every effect, so that a test can kill it in the middle of an event.
 */
async function restless(context: SimContext, stepped: () => void): Promise<void> {
  const { clock, network, disk, memory, logger } = context;
  const region = await memory.create('steps', 64);
  const connection = await network.connect('unix:/witness');
  connection.onFrame(() => {});
  connection.onClose(() => {});
  const file = await disk.append('/steps');
  for (let step = 1; ; step++) {
    region.longs[0] = BigInt(step);
    stepped();
    connection.send(Uint8Array.of(step & 0xff));
    stepped();
    region.longs[1] = BigInt(step);
    void disk.stat('/steps').then(stepped);
    logger.info({ step }, 'step');
    clock.schedule(0.5, stepped);
    stepped();
    region.longs[2] = BigInt(step);
    try {
      await file.append(Uint8Array.of(step & 0xff));
      stepped();
      await Promise.all([sleep(clock, 1), yieldTurn(clock), memory.list()]);
    } finally {
      region.longs[3] = BigInt(step);
    }
    stepped();
  }
}

function start(seed: number, stepped: (world: SimWorld) => void): { world: SimWorld; footprint: Footprint } {
  const world = new SimWorld({ seed });
  const footprint: Footprint = { frames: 0, log: [] };
  world.spawn('witness', 'h', async ({ network }) => {
    await network.listen('unix:/witness', (connection) => {
      connection.onFrame(() => {
        footprint.frames++;
      });
      connection.onClose((reason) => footprint.log.push(`closed: ${(reason as { code?: string } | undefined)?.code}`));
    });
  });
  world.clock.at(
    5,
    'spawn',
    () => void world.spawn('victim', 'h', (context) => restless(context, () => stepped(world))),
  );
  return { world, footprint };
}

/** Words of the region and size of the file, read from outside. */
async function remains(world: SimWorld): Promise<{ words: bigint[]; bytes: number }> {
  const found = { words: [] as bigint[], bytes: 0 };
  let done = false;
  world.spawn('auditor', 'h', async ({ memory, disk, clock, process }) => {
    await sleep(clock, 50);
    if ((await memory.list()).includes('steps'))
      found.words = [...(await memory.open('steps', 'read')).longs.subarray(0, 4)];
    found.bytes = (await disk.stat('/steps'))?.bytes ?? 0;
    done = true;
    process.exitWith(0);
  });
  await world.run({ until: () => done });
  return found;
}

function victimEvents(world: SimWorld): number {
  return world.trace.last(1000).filter((line) => /ms {2}victim {2}(?!process\.)/.test(line)).length;
}

describe('SimProcess', () => {
  it('killed at every event index, has no effect any more', async () => {
    const indices = 150;
    const lived = new Set<number>();
    for (let index = 1; index <= indices; index++) {
      let alive = true;
      let ranAfter = 0;
      const { world, footprint } = start(7, () => {
        if (!alive) ranAfter++;
      });
      await world.run({ until: () => world.process('victim') !== undefined });
      await world.run({ maxEvents: index });
      world.process('victim')?.kill();
      alive = false;
      const events = victimEvents(world);
      lived.add(events);
      const before = await remains(world);
      const { frames } = footprint;
      await world.run({ untilMs: world.clock.timeMs + 10_000 });
      assert.equal(ranAfter, 0, `index ${index}: code ran after the kill`);
      assert.equal(victimEvents(world), events, `index ${index}: an event came after the kill`);
      assert.deepEqual(await remains(world), before, `index ${index}`);
      assert.equal(footprint.frames, frames, `index ${index}`);
    }
    assert(lived.size > indices / 2, `killed at ${lived.size} different events only`);
  });

  it('killed in the middle of its own event, leaves what it did before and nothing of what it does after', async () => {
    const seen = new Set<string>();
    for (let index = 1; index <= 120; index++) {
      let steps = 0;
      let then: { words: bigint[]; frames: number } | undefined;
      let ranLater = 0;
      let killedAt = -1;
      const { world, footprint } = start(3, (w) => {
        if (then !== undefined && w.trace.count > killedAt + 1) ranLater++;
        if (++steps !== index) return;
        const region = regionNow;
        then = { words: region === undefined ? [] : [...region.subarray(0, 4)], frames: footprint.frames };
        killedAt = w.trace.count;
        w.process('victim')?.kill();
      });
      let regionNow: BigUint64Array | undefined;
      world.spawn('reader', 'h', async ({ memory, clock }) => {
        while (!(await memory.list()).includes('steps')) await sleep(clock, 0);
        regionNow = (await memory.open('steps', 'read')).longs;
      });
      await world.run({ until: () => then !== undefined });
      await world.run({ untilMs: world.clock.timeMs + 100 });
      if (then === undefined || then.words.length === 0) continue;
      const words = [...(regionNow as unknown as BigUint64Array).subarray(0, 4)];
      assert.deepEqual(words, then.words, `effect ${index}: memory changed after the kill`);
      assert.equal(ranLater, 0, `effect ${index}: code ran in a later event`);
      assert.equal(footprint.log.length, 1);
      const appended = Number(words[2]);
      const { bytes } = await remains(world);
      assert(bytes <= appended, `effect ${index}: ${bytes} bytes on disk of ${appended} appended before the kill`);
      seen.add(words.map((word) => Number(word - (words[3] as bigint))).join());
    }
    assert(seen.size >= 4, `states seen between steps: ${[...seen]}`);
  });

  it('paused, does nothing until resumed, and is then where it was', async () => {
    let steps = 0;
    const { world } = start(1, () => steps++);
    await world.run({ untilMs: 50 });
    world.process('victim')?.pause();
    const stepsThen = steps;
    await world.run({ untilMs: 5000 });
    assert.equal(steps, stepsThen);
    world.process('victim')?.resume();
    await world.run({ untilMs: 5050 });
    assert(steps > stepsThen + 20);
  });

  it('crashes like Node when its main rejects or a callback throws', async () => {
    for (const fail of [
      async () => Promise.reject(new Error('main')),
      ({ clock }: SimContext) => void clock.schedule(5, () => assert.fail('timer')),
    ]) {
      const world = new SimWorld({ seed: 1 });
      const process = world.spawn('p', 'h', fail);
      const exits: unknown[] = [];
      process.onExit(undefined, (exit) => exits.push(exit));
      await world.run();
      assert.deepEqual(exits, [{ code: 1, signal: undefined }]);
      assert.equal(world.crashes.length, 1);
    }
  });

  it('loses one thread without the others, and all with the process', async () => {
    const world = new SimWorld({ seed: 1 });
    const ticks = new Map<string, number>();
    const ticking = async ({ clock, name }: SimContext) => {
      for (;;) {
        ticks.set(name, (ticks.get(name) ?? 0) + 1);
        await sleep(clock, 10);
      }
    };
    const process = world.spawn('p', 'h', ticking);
    const slot = process.startThread('p/slot-1', ticking);
    await world.run({ untilMs: 100 });
    process.endThread(slot);
    const slotTicks = ticks.get('p/slot-1');
    await world.run({ untilMs: 200 });
    assert.equal(ticks.get('p/slot-1'), slotTicks);
    assert((ticks.get('p') ?? 0) > 15);
    process.kill();
    assert.equal((await world.run()).reason, 'idle');
  });

  it('reads a region it may not write, and fails the run when it writes', async () => {
    const world = new SimWorld({ seed: 1, memory: { guard: true } });
    world.spawn('writer', 'h', async ({ memory, clock }) => {
      const region = await memory.create('r', 64);
      for (;;) {
        Atomics.add(region.words, 0, 1);
        await sleep(clock, 1);
      }
    });
    world.spawn('reader', 'h', async ({ memory, clock }) => {
      await sleep(clock, 10);
      const region = await memory.open('r', 'read');
      while (Atomics.load(region.words, 0) < 50) await sleep(clock, 1);
      region.bytes[8] = 1;
    });
    await assert.rejects(world.run({ untilMs: 1000 }), { code: 'STRAY_WRITE', message: /reader at/ });
    assert(world.clock.timeMs > 40);
  });

  it('ends with its host: memory is empty, and the boot is another', async () => {
    const { world } = start(1, () => {});
    await world.run({ untilMs: 50 });
    const { bootId } = world.host('h');
    world.reboot('h');
    assert.notEqual(world.host('h').bootId, bootId);
    assert.deepEqual(world.processes, []);
    assert.deepEqual((await remains(world)).words, []);
  });
});

describe('simProcessControl', () => {
  it('spawns, signals and reports the end, as an operating system does', async () => {
    const world = new SimWorld({ seed: 1 });
    const seen: unknown[] = [];
    const roles = {
      daemon: {
        host: () => 'h',
        main: (settings: unknown, onStop: (handler: () => void) => void) => (context: SimContext) => {
          seen.push(settings);
          onStop(() => context.process.exitWith(0));
        },
      },
      worker: { host: () => 'h', main: () => () => {} },
    };
    world.spawn('parent', 'h', async (context) => {
      const control = simProcessControl(world, context, roles);
      const daemon = await control.spawn('daemon', 'd', { port: 1, missing: undefined });
      await assert.rejects(control.spawn('worker', 'd', {}), { code: 'SPAWN_FAILED' });
      daemon.signal('stop');
      seen.push(await daemon.exited);
      const worker = await control.spawn('worker', 'w', {});
      worker.signal('pause');
      await sleep(context.clock, 10);
      assert.equal(world.process('w')?.paused, true);
      worker.signal('kill');
      seen.push(await worker.exited);
    });
    await world.run();
    assert.deepEqual(world.crashes, []);
    assert.deepEqual(seen, [{ port: 1 }, { code: 0, signal: undefined }, { code: undefined, signal: 'SIGKILL' }]);
  });
});
