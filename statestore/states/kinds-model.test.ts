import { deepEqual, equal, ok } from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { keyGroupRange, subtaskOfKeyGroup } from '../../base/columnar/index.js';
import { silentLogger, systemClock, systemRandom } from '../../base/index.js';
import example from '../stores/example-state-store.js';
import type { MakeStateStore } from '../stores/state-store-contract-case.js';
import type { TtlSettings } from './expiry.js';
import { type Change, GROUPS, KEYS, KindsRun } from './kinds-run.test.support.js';

fc.configureGlobal({ includeErrorInReport: true });

/** Few, so that much happens to each. */
const key = fc.nat(KEYS - 1);
const ttl = fc.constantFrom<TtlSettings | undefined>(undefined, { ms: 50 }, { ms: 50, refresh: 'read' }, { ms: 120 });
const changes: fc.Arbitrary<Change>[] = [
  fc.record({ do: fc.constant('record'), key, a: fc.nat(99), b: fc.constantFrom('x', null), c: fc.boolean() }),
  fc.record({ do: fc.constant('add'), key, value: fc.nat(99) }),
  fc.record({ do: fc.constant('add'), key, value: fc.nat(99) }),
  fc.record({ do: fc.constant('add'), key, value: fc.nat(99) }),
  fc.record({ do: fc.constant('put'), key, sub: fc.constantFrom('p', 'q', 'r'), value: fc.nat(99) }),
  fc.record({ do: fc.constant('delete'), key, sub: fc.constantFrom('p', 'q', 'r') }),
  fc.record({ do: fc.constantFrom('sum', 'count'), key, value: fc.nat(9) }),
  fc.record({ do: fc.constant('clear'), key, what: fc.nat(4) }),
  fc.record({ do: fc.constant('read'), key }),
  fc.record({ do: fc.constantFrom('timer', 'cancel'), key, time: fc.nat(5) }),
  fc.record({ do: fc.constant('fire'), owner: fc.nat(7), upTo: fc.nat(5) }),
  fc.record({ do: fc.constant('part'), owner: fc.nat(7), value: fc.nat(99) }),
  fc.record({ do: fc.constant('rule'), name: fc.constantFrom('x', 'y'), value: fc.nat(9) }),
  fc.record({ do: fc.constant('sweep'), owner: fc.nat(7), entries: fc.constantFrom(1, 5, 1000) }),
  fc.record({ do: fc.constant('sweep'), owner: fc.nat(1), entries: fc.constant(1000) }),
];
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 14, arbitrary: fc.oneof(...changes) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.nat(40) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('checkpoint' as const), completes: fc.nat(3).map((n) => n > 0) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('restart' as const),
      parallelism: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4 })),
      upgrade: fc.constantFrom(0, 0, 1, 2),
      ttl: fc.oneof(fc.constant('same' as const), ttl),
      merge: fc.constantFrom('none' as const, 'none' as const, 'deltas' as const, 'all' as const),
      reversed: fc.boolean(),
    }),
  },
);

const random = fc.tuple(
  fc.boolean(),
  fc.integer({ min: 1, max: 4 }),
  ttl,
  fc.array(change, { minLength: 40, maxLength: 160 }),
);

async function agree(
  [withOperator, parallelism, firstTtl, commands]: typeof random extends fc.Arbitrary<infer T> ? T : never,
  makeStore?: MakeStateStore,
): Promise<void> {
  const run = new KindsRun(parallelism, firstTtl, withOperator, makeStore);
  for (const command of commands) await run.apply(command);
  await run.apply({ do: 'checkpoint', completes: true });
  await run.apply({ do: 'restart', parallelism: 0, upgrade: 0, ttl: 'same', merge: 'none', reversed: false });
  for (let k = 0; k < KEYS; k++) await run.apply({ do: 'read', key: k });
}

it('random changes, time, TTL switched, schemas, checkpoints, merges and rescales agree with plain maps', () =>
  fc.assert(
    fc.asyncProperty(random, (what) => agree(what)),
    { numRuns: 100 },
  ));

it('the same over a store of one’s own, in an entry storage', async () => {
  const host = { clock: systemClock(), random: systemRandom(), logger: silentLogger(), folder: '' };
  const stores = await example.open({ ...host, chainLengthMax: Number.POSITIVE_INFINITY });
  await fc.assert(
    fc.asyncProperty(random, (what) => agree(what, (range) => stores.create(range))),
    { numRuns: 100 },
  );
});

it('restore at other parallelism reads wrong key groups (FLINK-16576): any from any, timers and operator state with them', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: GROUPS }),
      fc.integer({ min: 1, max: GROUPS }),
      fc.boolean(),
      async (from, to, reversed) => {
        const run = new KindsRun(from, { ms: 50 }, true);
        for (let k = 0; k < KEYS; k++) {
          await run.apply({ do: 'record', key: k, a: k, b: null, c: true });
          for (const value of [1, 2]) await run.apply({ do: 'add', key: k, value });
          await run.apply({ do: 'count', key: k, value: 1 });
          await run.apply({ do: 'timer', key: k, time: k % 3 });
          if (k === 2) await run.apply({ do: 'checkpoint', completes: true });
          await run.apply({ do: 'tick', ms: 10 });
        }
        for (const value of [1, 2, 3, 4, 5]) await run.apply({ do: 'part', owner: value % from, value });
        await run.apply({ do: 'rule', name: 'x', value: 1 });
        await run.apply({ do: 'checkpoint', completes: true });
        for (const parallelism of [to, from]) {
          await run.apply({ do: 'restart', parallelism, upgrade: 0, ttl: 'same', merge: 'none', reversed });
          for (const [i, { store }] of run.owners.entries()) {
            // Nothing of others is even in memory.
            store.byteTable('n1/record').scan(1000, (group) => {
              const { first, last } = keyGroupRange(i, GROUPS, parallelism);
              ok(group >= first && group <= last && subtaskOfKeyGroup(group, GROUPS, parallelism) === i);
            });
          }
          await run.apply({ do: 'fire', owner: 0, upTo: 1 });
          for (let k = 0; k < KEYS; k++) await run.apply({ do: 'read', key: k });
          await run.apply({ do: 'checkpoint', completes: true });
        }
        equal(run.owners.length, from);
        deepEqual(
          run.owners.map(({ operator }) => operator?.rules.entries()),
          run.owners.map(() => [['x', 1]]),
        );
      },
    ),
    { numRuns: 30 },
  );
});
