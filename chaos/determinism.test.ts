import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../base/index.js';
import { pingPongWorld } from './ping-pong.js';
import { applyPlan, decodePlan, drawPlan, encodePlan, type Fault, swarm } from './plan.js';
import { shrink } from './shrink.js';

const RATES = {
  kill: 4,
  pause: 4,
  disconnect: 8,
  reboot: 2,
  partition: 2,
  slow: 2,
  diskFull: 2,
  diskSlow: 2,
  diskErrors: 2,
};

function planFor(seed: number) {
  return drawPlan(seed, seededRandom(seed), {
    untilMs: 1000,
    rates: RATES,
    processes: ['a', 'b', 'c', 'nobody'],
    hosts: ['host-a', 'host-b', 'host-c'],
    durationMs: [10, 500],
  });
}

async function trace(seed: number, faults: readonly Fault[]): Promise<string> {
  const world = pingPongWorld(seed);
  applyPlan(world, { seed, faults });
  await world.run({ untilMs: 1500 });
  return `${world.trace.count} ${world.trace.hash}`;
}

describe('a run is a function of seed and plan', () => {
  it('the same seed and plan give the same trace twice, others another', async () => {
    const hashes = new Set<string>();
    for (let seed = 1; seed <= 10; seed++) {
      const { faults } = planFor(seed);
      const once = await trace(seed, faults);
      assert.equal(await trace(seed, faults), once, `seed ${seed}`);
      assert.equal(
        await trace(seed, decodePlan(encodePlan({ seed, faults })).faults),
        once,
        `seed ${seed}, plan as JSON`,
      );
      hashes.add(once);
      hashes.add(await trace(seed, faults.slice(1)));
      hashes.add(await trace(seed + 1000, faults));
    }
    assert.equal(hashes.size, 30);
  });

  it('the same in another process, without a just-in-time compiler', async () => {
    const script = fileURLToPath(new URL('ping-pong.js', import.meta.url));
    const code = `
      const { pingPongWorld } = await import(${JSON.stringify(script)});
      const world = pingPongWorld(5);
      await world.run({ untilMs: 1000 });
      process.stdout.write(world.trace.hash);`;
    const run = (...flags: string[]) =>
      spawnSync(process.execPath, [...flags, '--input-type=module', '-e', code], { encoding: 'utf8' }).stdout;
    const plain = run();
    assert.match(plain, /^[0-9a-f]{16}$/);
    assert.equal(run('--jitless', '--no-expose-wasm'), plain);
  });

  it('prints the seed and the last events when a run fails', async () => {
    const world = pingPongWorld(1);
    world.clock.at(50, 'x', () => {
      throw new Error('something broke');
    });
    await assert.rejects(world.run(), (error: Error) => {
      assert.match(error.message, /^seed 1 failed: something broke\n/);
      assert.match(error.message, / ms {2}a {2}\S+ \d+\n/);
      return true;
    });
  });
});

describe('fault plans', () => {
  it('come at their rates, sorted, within their time, at those who can be hit', () => {
    const plan = drawPlan(1, seededRandom(1), {
      fromMs: 1000,
      untilMs: 101_000,
      rates: { kill: 5, partition: 1 },
      processes: ['p', 'q'],
      hosts: ['h', 'i'],
    });
    const kills = plan.faults.filter(({ fault }) => fault === 'kill').length;
    assert(kills > 420 && kills < 580, `${kills} kills`);
    assert(plan.faults.every(({ atMs }, i) => atMs >= (plan.faults[i - 1]?.atMs ?? 1000) && atMs < 101_000));
    for (const fault of plan.faults) {
      if (fault.fault === 'partition') assert.deepEqual([fault.target, fault.other].sort(), ['h', 'i']);
      else assert(['p', 'q'].includes(fault.target));
    }
  });

  it('of a swarm differ in the kinds of fault', () => {
    const kinds = new Set<string>();
    for (let seed = 0; seed < 50; seed++) kinds.add(Object.keys(swarm(seededRandom(seed), RATES)).join());
    assert(kinds.size > 40, `${kinds.size} subsets`);
  });

  it('that are damaged are refused by name', () => {
    for (const text of [
      '',
      '{}',
      '{"seed":1,"faults":[{"atMs":1}]}',
      '{"seed":1,"faults":[{"atMs":1,"target":"x","fault":"no"}]}',
    ]) {
      assert.throws(() => decodePlan(text), { code: 'PLAN_INVALID', kind: 'invalid' });
    }
  });
});

describe('shrink', () => {
  it('finds the faults that matter among hundreds', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const random = seededRandom(seed);
      const items = Array.from({ length: 1 + random.below(300) }, (_, i) => i);
      const culprits = items.filter(() => random.chance(3 / items.length));
      const found = await shrink(items, async (some) => culprits.every((item) => some.includes(item)));
      assert.deepEqual(found, culprits, `seed ${seed}`);
    }
  });

  it('keeps to its bound of attempts, and what it returns still fails', async () => {
    const items = Array.from({ length: 500 }, (_, i) => i);
    let attempts = 0;
    const fails = async (some: readonly number[]) => {
      attempts++;
      return some.includes(3) && some.includes(444);
    };
    const found = await shrink(items, fails, { attemptsMax: 10 });
    assert(attempts <= 10);
    assert(found.length < 500 && found.includes(3) && found.includes(444));
  });

  it('shrinks a failing run to the one kill that makes it fail', async () => {
    const { faults } = planFor(3);
    const fails = async (some: readonly Fault[]) => {
      const world = pingPongWorld(3, { restart: false });
      applyPlan(world, { seed: 3, faults: some });
      await world.run({ untilMs: 1050 });
      return world.process('b') === undefined;
    };
    assert(faults.length > 10 && (await fails(faults)));
    const found = await shrink(faults, fails);
    assert.equal(found.length, 1);
    assert(['kill', 'reboot'].includes(found[0]?.fault ?? ''), JSON.stringify(found));
  });
});
