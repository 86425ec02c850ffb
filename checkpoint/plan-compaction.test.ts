import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { seededRandom } from '../base/index.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { compact } from './compact.js';
import type { SegmentRef } from './manifest.js';
import { applyCompaction, type CompactionPlan, type CompactionSettings, planCompaction } from './plan-compaction.js';
import {
  Amount,
  built,
  compareEntries,
  keyGroupsMax,
  type SegmentContent,
  segmentContent,
  stored,
  storedContent,
} from './segment/random-segments.test.support.js';

const whole = { first: 0, last: keyGroupsMax - 1 };

/** What happens to a task's list of segments. */
type Step =
  | { readonly what: 'delta'; readonly content: SegmentContent }
  /** All of the state at once: older segments go. */
  | { readonly what: 'full' }
  | { readonly what: 'plan' }
  /** The merge that was planned is carried out, on what was planned for. */
  | { readonly what: 'merge' }
  /** What was merged is brought in, or refused. */
  | { readonly what: 'apply' };

const delta = segmentContent({ full: false, range: whole }).map((content) => ({ what: 'delta', content }) as const);
const steps = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: delta },
    { weight: 1, arbitrary: fc.constant({ what: 'full' } as const) },
    { weight: 3, arbitrary: fc.constant({ what: 'plan' } as const) },
    { weight: 3, arbitrary: fc.constant({ what: 'merge' } as const) },
    { weight: 3, arbitrary: fc.constant({ what: 'apply' } as const) },
  ),
  { maxLength: 80, size: 'max' },
) as fc.Arbitrary<readonly Step[]>;
const settings: fc.Arbitrary<CompactionSettings> = fc.record({
  deltasMax: fc.integer({ min: 2, max: 5 }),
  overlayMax: fc.constantFrom(0.1, 0.5, 2),
  outputBytesMin: fc.constantFrom(1, 200, 2000),
  outputBytesMax: fc.constantFrom(300, 2 ** 20),
});

/** A task, its list of segments, and what its state should be. */
class Task {
  readonly store = new MemoryBlobStore();
  readonly amount = new Amount();
  segments: readonly SegmentRef[] = [];
  applied = 0;
  refused = 0;
  readonly #settings: CompactionSettings;
  readonly #random = seededRandom(1);
  #plan: CompactionPlan | undefined;
  #outputs: readonly SegmentRef[] | undefined;
  #names = 0;

  constructor(settings: CompactionSettings) {
    this.#settings = settings;
  }

  async step(step: Step): Promise<void> {
    switch (step.what) {
      case 'delta': {
        this.amount.add(step.content);
        const ref = await stored(this.store, `s${++this.#names}`, built(step.content));
        this.segments = [...this.segments, ref];
        return;
      }
      case 'full': {
        const entries = [...this.amount.live.values()];
        const states = new Map([...entries.map((e) => [e.state, undefined] as const), ...this.amount.values]);
        const content = { full: true, range: whole, states, entries: entries.sort(compareEntries) };
        this.segments = [await stored(this.store, `s${++this.#names}`, built(content))];
        return;
      }
      case 'plan':
        if (this.#plan !== undefined) return;
        this.#plan = planCompaction(this.segments, this.#settings);
        return;
      case 'merge':
        if (this.#plan === undefined || this.#outputs !== undefined) return;
        this.#outputs = await compact(this.store, this.#plan, {
          epoch: 1,
          checkpointId: ++this.#names,
          host: 'h',
          random: this.#random,
          inlineBytesMax: 0,
          breathe: async () => {},
        });
        return;
      case 'apply': {
        if (this.#plan === undefined || this.#outputs === undefined) return;
        const now = applyCompaction(this.segments, this.#plan.inputs, this.#outputs);
        if (now === undefined) this.refused++;
        else this.applied++;
        this.segments = now ?? this.segments;
        this.#plan = undefined;
        this.#outputs = undefined;
      }
    }
  }

  async check(): Promise<void> {
    const contents = await Promise.all(this.segments.map((ref) => storedContent(this.store, ref)));
    deepEqual(Amount.of(contents).plain, this.amount.plain);
    this.segments.forEach(({ full, first, last }, i) => {
      if (!full) return;
      // What is full has nothing below it, so that merging may ignore it.
      const below = this.segments.slice(0, i).filter((ref) => ref.first <= last && ref.last >= first);
      deepEqual(below, [], `segment ${i} is full, and older ones lie below it`);
    });
  }
}

describe('planning merges', () => {
  it('never changes what a task has, whenever a merge is done and brought in', async () => {
    const counts = { applied: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(steps, settings, async (walk, how) => {
        const task = new Task(how);
        for (const step of walk) {
          await task.step(step);
          if (step.what === 'apply') await task.check();
        }
        await task.check();
        counts.applied += task.applied;
        counts.refused += task.refused;
      }),
      { numRuns: 200 },
    );
    // A walk in which nothing is merged would pass as well.
    ok(counts.applied > 100 && counts.refused > 0, JSON.stringify(counts));
  });

  it('comes to an end, with few segments', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(delta, { maxLength: 60, size: 'max' }), settings, async (deltas, how) => {
        const task = new Task(how);
        for (const step of deltas) await task.step(step);
        for (let merges = 0; planCompaction(task.segments, how) !== undefined; merges++) {
          ok(merges < 3 * deltas.length + 30, 'it merges for ever');
          for (const what of ['plan', 'merge', 'apply'] as const) await task.step({ what });
        }
        await task.check();
        equal(task.refused, 0);
        ok(task.segments.filter(({ full, deltas: n }) => !full && n === 1).length < how.deltasMax);
        for (let group = 0; group < keyGroupsMax; group++) {
          const over = task.segments.filter(({ first, last }) => first <= group && group <= last);
          // A base, merged deltas over it, deltas as taken over those.
          ok(over.length <= 2 * how.deltasMax, `${over.length} segments over key group ${group}`);
        }
      }),
    );
  });

  it('is void when an input is gone, and takes the place of the oldest one when all are there', () => {
    const ref = (name: string): SegmentRef => ({
      object: name,
      offset: 0,
      length: 1,
      indexBytes: 1,
      checksum: '0',
      full: false,
      first: 0,
      last: 0,
      deltas: 1,
    });
    const [a, b, c, d, m] = ['a', 'b', 'c', 'd', 'm'].map(ref) as [
      SegmentRef,
      SegmentRef,
      SegmentRef,
      SegmentRef,
      SegmentRef,
    ];
    deepEqual(applyCompaction([a, b, c, d], [b, c], [m]), [a, m, d]);
    deepEqual(applyCompaction([a, b, c, d], [b, d], [m, m]), [a, m, m, c]);
    deepEqual(applyCompaction([a, b], [a, b], []), []);
    equal(applyCompaction([a, c, d], [b, c], [m]), undefined);
    equal(applyCompaction([d], [b, c], [m]), undefined);
    equal(applyCompaction([], [a], [m]), undefined);
    // The same object at another place, and small ones inside HEAD, are told apart.
    equal(applyCompaction([{ ...a, offset: 5 }], [a], [m]), undefined);
    const [x, y] = ['AAAA', 'BBBB'].map((inline, i) => ({ ...a, object: '', inline, checksum: `${i}` }));
    deepEqual(applyCompaction([x as SegmentRef, y as SegmentRef], [y as SegmentRef], [m]), [x, m]);
  });
});
