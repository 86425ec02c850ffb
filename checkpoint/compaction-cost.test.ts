import { ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SegmentRef } from './manifest.js';
import { applyCompaction, type CompactionPlan, planCompaction } from './plan-compaction.js';

const GROUPS = 128;

/** The share of its keys that a segment has, by key group. */
type Shares = Float64Array;

/**
 * A task's list of segments at the level of sizes: keys of a fixed number and size, changed independently of each other, so
 * that segments which have shares a and b of a key group's keys together have 1 - (1 - a)(1 - b) of them.
 */
class SizedTask {
  segments: readonly SegmentRef[] = [];
  mergedBytes = 0;
  changedBytes = 0;
  readonly stateBytes: number;
  readonly #shares = new Map<string, Shares>();
  #names = 0;

  constructor(stateBytes: number) {
    this.stateBytes = stateBytes;
  }

  get bytes(): number {
    return this.segments.reduce((sum, { length }) => sum + length, 0);
  }

  /** A checkpoint: of each key group this share of the keys was changed. */
  change(shareOf: (group: number) => number): void {
    const shares = Float64Array.from({ length: GROUPS }, (_, group) => shareOf(group));
    const ref = this.#ref(shares, { first: 0, last: GROUPS - 1, full: false, deltas: 1 });
    this.segments = [...this.segments, ref];
    this.changedBytes += ref.length;
  }

  /** Carries out what is planned, as `mergeSegments` cuts it. @returns whether there was anything. */
  merge(): boolean {
    const plan = planCompaction(this.segments);
    if (plan === undefined) return false;
    const outputs = this.#outputs(plan);
    this.mergedBytes += outputs.reduce((sum, { length }) => sum + length, 0);
    const now = applyCompaction(this.segments, plan.inputs, outputs);
    ok(now, 'nothing came between');
    this.segments = now;
    return true;
  }

  #outputs({ inputs, range, full, boundaries, bytesTarget }: CompactionPlan): SegmentRef[] {
    const shares = new Float64Array(GROUPS);
    for (let group = range.first; group <= range.last; group++) {
      const missing = inputs.map((ref) => 1 - (this.#shares.get(ref.object)?.[group] ?? 0));
      shares[group] = 1 - missing.reduce((product, share) => product * share, 1);
    }
    const deltas = Math.max(
      2,
      inputs.reduce((sum, ref) => sum + (ref.full ? 0 : ref.deltas), 0),
    );
    const ends = new Set(boundaries);
    const outputs: SegmentRef[] = [];
    let first = range.first;
    let bytes = 0;
    for (let group = range.first; group <= range.last; group++) {
      bytes += this.#groupBytes(shares[group] as number);
      if (group < range.last && bytes < bytesTarget && !ends.has(group)) continue;
      const output = shares.map((share, i) => (i >= first && i <= group ? share : 0));
      if (bytes > 0) outputs.push(this.#ref(output, { first, last: group, full, deltas }));
      first = group + 1;
      bytes = 0;
    }
    return outputs;
  }

  #ref(shares: Shares, what: Pick<SegmentRef, 'first' | 'last' | 'full' | 'deltas'>): SegmentRef {
    const object = `s${++this.#names}`;
    this.#shares.set(object, shares);
    const length = shares.reduce((sum, share) => sum + this.#groupBytes(share), 0);
    return { ...what, object, offset: 0, length, indexBytes: 0, checksum: '' };
  }

  #groupBytes(share: number): number {
    return (share * this.stateBytes) / GROUPS;
  }
}

interface Cost {
  /** Bytes that merging wrote for each byte that changed. */
  readonly written: number;
  /** Bytes of all segments for each byte of state, at its worst. */
  readonly space: number;
  readonly segmentsMax: number;
  /** Of what one merge wrote, as a share of the state, at its worst. */
  readonly mergeMax: number;
}

/** Starts from a whole state in deltas; the first merges, which load it, are not counted. */
function costOf(stateBytes: number, checkpoints: number, shareOf: (group: number, round: number) => number): Cost {
  const task = new SizedTask(stateBytes);
  task.change(() => 1);
  for (let i = 0; i < 400; i++) {
    task.change((group) => shareOf(group, i));
    task.merge();
  }
  task.mergedBytes = 0;
  task.changedBytes = 0;
  let space = 0;
  let segmentsMax = 0;
  let mergeMax = 0;
  for (let i = 0; i < checkpoints; i++) {
    task.change((group) => shareOf(group, i));
    const before = task.mergedBytes;
    // One at a time, and at most one a checkpoint.
    task.merge();
    mergeMax = Math.max(mergeMax, (task.mergedBytes - before) / stateBytes);
    space = Math.max(space, task.bytes / stateBytes);
    segmentsMax = Math.max(segmentsMax, task.segments.length);
  }
  return { written: task.mergedBytes / task.changedBytes, space, segmentsMax, mergeMax };
}

const MB = 2 ** 20;

describe('what merging costs, over 1,000 checkpoints', () => {
  for (const [name, stateBytes, share, atMost] of [
    // Merging small changes into a large base at every turn would write 40 bytes for each that changed.
    ['0.01 % of 1 GB', 1024 * MB, 0.0001, { written: 6, space: 1.3, segments: 300 }],
    ['0.1 % of 1 GB', 1024 * MB, 0.001, { written: 4, space: 1.7, segments: 300 }],
    ['1 % of 1 GB', 1024 * MB, 0.01, { written: 2.2, space: 1.8, segments: 150 }],
    ['1 % of 20 MB', 20 * MB, 0.01, { written: 2.2, space: 1.8, segments: 150 }],
    // Here deltas are merged before there are 16 of them.
    ['10 % of 1 GB', 1024 * MB, 0.1, { written: 2, space: 2.2, segments: 80 }],
  ] as const) {
    it(`${name}, evenly: about what is said of it`, (t) => {
      const cost = costOf(stateBytes, 1000, () => share);
      t.diagnostic(JSON.stringify(cost));
      ok(cost.written <= atMost.written, `${cost.written} bytes written for each that changed`);
      ok(cost.space <= atMost.space, `${cost.space} times the state`);
      ok(cost.segmentsMax <= atMost.segments, `${cost.segmentsMax} segments`);
      ok(cost.mergeMax <= 0.15 + 4 * share, `${cost.mergeMax} of the state in one merge`);
    });
  }

  it('1 % of 1 GB, all in a tenth of the key groups: only those are rewritten', (t) => {
    const cost = costOf(1024 * MB, 1000, (group) => (group >= 40 && group < 53 ? 0.1 : 0));
    t.diagnostic(JSON.stringify(cost));
    ok(cost.written <= 4, `${cost.written} bytes written for each that changed`);
    ok(cost.space <= 2, `${cost.space} times the state`);
    ok(cost.mergeMax <= 0.3, `${cost.mergeMax} of the state in one merge`);
  });

  it('1 % of 1 GB, in key groups that take turns', (t) => {
    const cost = costOf(1024 * MB, 1000, (group, round) => (Math.floor(round / 100) % 10 === group % 10 ? 0.1 : 0));
    t.diagnostic(JSON.stringify(cost));
    ok(cost.written <= 4, `${cost.written} bytes written for each that changed`);
    ok(cost.space <= 2, `${cost.space} times the state`);
  });
});
