import { deepEqual, equal, notEqual, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { killFates } from './kills-life.js';
import { type KillsReport, runKills } from './run-kills.js';

const SEEDS = 120;
/** The same ones in every run of the tests; `npm run chaos -- --sim --kills 10000` draws others. */
const FIRST = 40_000;

function onUnhandled(handler: (error: unknown) => void): () => void {
  process.on('unhandledRejection', handler);
  return () => void process.off('unhandledRejection', handler);
}

/** Where each kind of process must have been killed: at every kind of await of what it does. */
const awaits: Readonly<Record<string, readonly string[]>> = {
  takeOver: ['read', 'compareAndSet', 'get'],
  attach: ['attach'],
  restore: ['get'],
  barrier: ['snapshot'],
  persist: ['persist'],
  upload: ['put', 'disk.write', 'disk.link'],
  save: ['put', 'compareAndSet', 'read'],
  collect: ['list', 'delete', 'get', 'read'],
  compact: ['get', 'put'],
  pin: ['put', 'read', 'list', 'get'],
};

describe('the checkpoint store under kills', () => {
  it(`loses nothing and leaks nothing on ${SEEDS} seeds`, { timeout: 280_000 }, async (t) => {
    const killsAt = new Map<string, number>();
    const sum = { kills: 0, pauses: 0, powerCuts: 0, published: 0, merged: 0, deleted: 0, restored: 0, pinnedReads: 0 };
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const report = await runKills(seed, { onUnhandled });
      equal(report.violation, undefined, report.violation?.message);
      for (const [at, count] of report.killsAt) killsAt.set(at, (killsAt.get(at) ?? 0) + count);
      sum.kills += report.kills;
      for (const key of Object.keys(sum) as (keyof typeof sum)[]) {
        if (key !== 'kills') sum[key] += report.counts[key];
      }
    }
    t.diagnostic(JSON.stringify(sum));
    // A simulator in which nothing happens would pass as well.
    for (const [operation, calls] of Object.entries(awaits)) {
      for (const call of calls) {
        const met = killFates.filter((fate) => (killsAt.get(`${operation} ${call} ${fate}`) ?? 0) > 0);
        const missing = killFates.filter((fate) => !met.includes(fate));
        // A disk's calls are torn at the moment of the kill: there `sent` and `done` are the same.
        const isEnough = call.startsWith('disk.') ? met.length > 0 : missing.length === 0;
        ok(isEnough, `nobody was killed at ${operation} ${call} ${missing.join(', ')}`);
      }
    }
    ok(sum.kills >= SEEDS * 50, `only ${sum.kills} kills`);
    ok(sum.published > SEEDS * 10, `only ${sum.published} checkpoints`);
    ok(sum.merged > SEEDS, `only ${sum.merged} merged segments`);
    ok(sum.deleted > SEEDS * 5, `only ${sum.deleted} deletions`);
    ok(sum.restored > SEEDS && sum.pinnedReads > SEEDS, `only ${sum.restored} and ${sum.pinnedReads} restored`);
    ok(sum.powerCuts > 10, `only ${sum.powerCuts} power cuts`);
  });

  it('does the same again from the same seed', { timeout: 60_000 }, async () => {
    const hashes = new Set<string>();
    for (const store of ['network', 'tiered', 'directory'] as const) {
      const once = await runKills(7, { wishes: { store } });
      equal(once.violation, undefined, once.violation?.message);
      const again: KillsReport = await runKills(7, { wishes: { store } });
      deepEqual(again, once);
      hashes.add(once.hash);
    }
    equal(hashes.size, 3);
    notEqual((await runKills(8)).hash, (await runKills(9)).hash);
  });
});
