import { deepEqual, equal, ok } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import fc from 'fast-check';
import { type MillraceError, seededRandom } from '../base/index.js';
import type { RegionBuffer } from './region-file.js';
import type { RegionEvent, RegionStore } from './region-store.js';
import { buffersOf, HeldObjects, openStore } from './region-store.test.support.js';

const root = mkdtempSync(join(tmpdir(), 'millrace-region-model-'));
after(() => rmSync(root, { recursive: true }));

const WRITERS = ['a', 'b'] as const;
const SUBPARTITIONS = 3;
const SEQS_MAX = 60;

/** All there ever is of partition `of-<writer>`: what is written is cut from here. */
const all = new Map<string, readonly RegionBuffer[]>();
for (const writer of WRITERS) {
  for (let sub = 0; sub < SUBPARTITIONS; sub++) {
    all.set(`${writer}/${sub}`, buffersOf(`${writer}/${sub}`, 0, SEQS_MAX, 30, sub === 1));
  }
}

type Action =
  | { readonly do: 'write'; readonly writer: string; readonly counts: readonly number[]; readonly durable: boolean }
  | {
      readonly do: 'read';
      readonly writer: string;
      readonly sub: number;
      readonly share: number;
      readonly bytesMax: number;
    }
  | { readonly do: 'trim'; readonly writer: string; readonly shares: readonly number[] }
  | { readonly do: 'drop'; readonly writer: string }
  | { readonly do: 'finish'; readonly writer: string }
  | { readonly do: 'reopen' }
  | { readonly do: 'reboot' };

const writer = fc.constantFrom(...WRITERS);
const perSubpartition = (of: fc.Arbitrary<number>) =>
  fc.array(of, { minLength: SUBPARTITIONS, maxLength: SUBPARTITIONS });
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('write'),
      writer,
      counts: perSubpartition(fc.nat(8)),
      durable: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('read'),
      writer,
      sub: fc.nat(SUBPARTITIONS - 1),
      share: fc.nat(12),
      bytesMax: fc.nat(900),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('trim'), writer, shares: perSubpartition(fc.nat(10)) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drop'), writer }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('finish'), writer }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reboot') }) },
);

/** One subpartition as it should be. */
interface Expected {
  trimmed: number;
  next: number;
}

interface Model {
  readonly subs: Map<string, Expected[]>;
  readonly finished: Set<string>;
  /** Partitions of which a trim was forgotten over a restart: who asks for that part is told that it is lost. */
  readonly forgot: Set<string>;
}

function emptied(): Expected[] {
  return Array.from({ length: SUBPARTITIONS }, () => ({ trimmed: 0, next: 0 }));
}

it('random writes, reads, trims, drops and restarts are as a plain model says', async () => {
  let runs = 0;
  const body = async (actions: readonly Action[], disks: number, roomy: boolean) => {
    const folders = Array.from({ length: disks }, (_, i) => join(root, `run-${runs}-${i}`));
    const objects = new HeldObjects();
    const random = seededRandom(runs++);
    let boot = 0;
    const open = () =>
      openStore(folders, { objects, random, bootId: `boot ${boot}`, ...(roomy ? {} : { diskBytesMax: 6000 }) });
    let { store, events } = await open();
    const model: Model = { subs: new Map(WRITERS.map((w) => [w, emptied()])), finished: new Set(), forgot: new Set() };
    for (const step of actions) {
      if (step.do !== 'reopen' && step.do !== 'reboot') {
        await apply(store, model, step);
        continue;
      }
      await store.close();
      compareEvents(events, model);
      if (step.do === 'reboot') {
        boot++;
        for (const w of WRITERS) if (!model.finished.has(w)) model.subs.set(w, emptied());
      }
      ({ store, events } = await open());
      relearn(store, model);
    }
    for (const w of WRITERS) {
      for (let sub = 0; sub < SUBPARTITIONS; sub++) {
        const expected = (model.subs.get(w) as Expected[])[sub] as Expected;
        for (let share = 0; share <= 12; share++) {
          await compareRead(store, `of-${w}`, expected, { do: 'read', writer: w, sub, share, bytesMax: 100 * share });
        }
      }
      await store.drop(w);
    }
    await store.close();
    compareEvents(events, model);
    equal(objects.held.size, 0);
    for (const folder of folders) deepEqual(readdirSync(folder), []);
  };
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 25 }), fc.integer({ min: 1, max: 3 }), fc.boolean(), body),
    { numRuns: 25 },
  );
});

async function apply(
  store: RegionStore,
  model: Model,
  step: Exclude<Action, { readonly do: 'reopen' } | { readonly do: 'reboot' }>,
): Promise<void> {
  const partition = `of-${step.writer}`;
  const subs = model.subs.get(step.writer) as Expected[];
  if (step.do === 'write') {
    const parts = step.counts.map((count, sub) => {
      const { next } = subs[sub] as Expected;
      const buffers = (all.get(`${step.writer}/${sub}`) ?? []).slice(next, next + count);
      (subs[sub] as Expected).next += buffers.length;
      return { partition, subpartition: sub, buffers };
    });
    await store.write(step.writer, parts.reverse(), { durable: step.durable });
  } else if (step.do === 'trim') {
    const seqs = step.shares.map((share, sub) => Math.floor(((subs[sub] as Expected).next * share) / 10));
    await store.trim(partition, seqs);
    seqs.forEach((seq, sub) => {
      const expected = subs[sub] as Expected;
      expected.trimmed = Math.max(expected.trimmed, seq);
    });
  } else if (step.do === 'drop') {
    await store.drop(step.writer);
    model.subs.set(step.writer, emptied());
    model.finished.delete(step.writer);
  } else if (step.do === 'finish') {
    await store.finish(step.writer, Buffer.from(step.writer));
    model.finished.add(step.writer);
  } else {
    await compareRead(store, partition, subs[step.sub] as Expected, step);
  }
}

async function compareRead(
  store: RegionStore,
  partition: string,
  { trimmed, next }: Expected,
  { writer: of, sub, share, bytesMax }: Extract<Action, { do: 'read' }>,
): Promise<void> {
  // Mostly within what is there; now and then just before and just behind it.
  const at = Math.max(0, trimmed - 1 + Math.floor(((next - trimmed + 3) * share) / 12));
  const lost = at < trimmed || at > next;
  const got = await store.read(partition, sub, at, bytesMax).catch((e: MillraceError) => e.code);
  if (lost) {
    equal(got, 'PARTITION_LOST');
    return;
  }
  const wanted: RegionBuffer[] = [];
  let bytes = 0;
  for (const buffer of (all.get(`${of}/${sub}`) ?? []).slice(at, next)) {
    bytes += buffer.bytes.length;
    if (wanted.length > 0 && bytes > bytesMax) break;
    wanted.push(buffer);
  }
  ok(Array.isArray(got), String(got));
  const plain = (buffers: readonly RegionBuffer[]) => buffers.map((b) => ({ ...b, bytes: Buffer.from(b.bytes) }));
  deepEqual(plain(got as RegionBuffer[]), plain(wanted));
}

function compareEvents(events: readonly RegionEvent[], { forgot }: Model): void {
  const unexpected = events.filter((event) => event.kind !== 'lost' || !forgot.has(event.partition));
  deepEqual(unexpected, []);
}

/** Trims are not kept over a restart: trimmed buffers may be there again, never more is missing. */
function relearn(store: RegionStore, model: Model): void {
  for (const w of WRITERS) {
    const ranges = store.ranges(`of-${w}`);
    (model.subs.get(w) as Expected[]).forEach((expected, sub) => {
      const range = ranges.get(sub);
      if (range === undefined) {
        equal(expected.trimmed, expected.next, `${w}/${sub} is missing`);
        if (expected.next > 0) model.forgot.add(`of-${w}`);
        return;
      }
      ok(range.first <= expected.trimmed, `${w}/${sub} begins at ${range.first}, not at ${expected.trimmed}`);
      if (expected.next > expected.trimmed) {
        equal(range.next, expected.next);
        equal(range.nextChain, all.get(`${w}/${sub}`)?.[range.next - 1]?.chain);
      }
      if (range.first > 0) model.forgot.add(`of-${w}`);
      expected.trimmed = range.first;
    });
  }
}
