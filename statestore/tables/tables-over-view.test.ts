import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom, silentLogger } from '../../base/index.js';
import { Machine } from '../host/machine.test.support.js';
import { StateFolder } from '../host/state-folder.js';
import { StepClock } from '../host/state-world.test.support.js';
import { restoreSegment } from '../view/restore-segment.js';
import { StateView } from '../view/state-view.js';
import { MemoryStateStore } from './memory-state-store.js';

const range = { first: 0, last: 7 };
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const keys = 500;
const subs = ['', 'a', 'b'].map(bytes);

/** A task whose tables stand on the view of a folder on its host, and what plain maps say. */
class Task {
  readonly #machine = new Machine();
  readonly #folder: StateFolder;
  readonly #random: Random;
  readonly values = new Map<string, string>();
  readonly counts = new Map<string, number>();
  #view: StateView;
  #store: MemoryStateStore;
  #checkpoint = 0;

  private constructor(machine: Machine, folder: StateFolder, random: Random, view: StateView) {
    this.#machine = machine;
    this.#folder = folder;
    this.#random = random;
    this.#view = view;
    this.#store = newStore(view);
  }

  static async start(seed: number): Promise<Task> {
    const random = seededRandom(seed);
    const machine = new Machine();
    const surroundings = { clock: new StepClock(), random, logger: silentLogger() };
    const history = { latest: undefined, kept: [] };
    const process = machine.process();
    const folder = await StateFolder.open({ root: '/s', ...process, ...surroundings, bootId: 'boot', history });
    await folder.startEmpty(range);
    return new Task(machine, folder, random, await viewOf(machine, folder));
  }

  change(count: number): void {
    const random = this.#random;
    for (let i = 0; i < count; i++) {
      const n = random.below(keys);
      const at = [n % 8, Math.imul(n, 0x9e3779b1), bytes(`key ${n}`)] as const;
      const [what, sub, value] = [random.below(8), random.below(3), 'x'.repeat(random.below(60))];
      const lanes = this.#store.laneTable('lanes', 1);
      const window = random.below(2) * 60_000;
      if (what === 0) {
        this.#store.byteTable('bytes').remove(...at, subs[sub] as Uint8Array);
        this.values.delete(`${n}/${sub}`);
      } else if (what < 4) {
        this.#store.byteTable('bytes').put(...at, subs[sub] as Uint8Array, bytes(value));
        this.values.set(`${n}/${sub}`, value);
      } else if (what === 4) {
        const slot = lanes.find(...at, window);
        equal(slot >= 0, this.counts.delete(`${n}/${window}`));
        if (slot >= 0) lanes.remove(slot);
      } else {
        const slot = lanes.upsert(...at, window);
        equal(lanes.values[slot], this.counts.get(`${n}/${window}`) ?? 0);
        lanes.values[slot] = (lanes.values[slot] as number) + 1;
        this.counts.set(`${n}/${window}`, lanes.values[slot] as number);
      }
    }
  }

  /** The view goes on in between, as it does when a task hears of the checkpoint later. */
  async checkpoint(fold: boolean): Promise<void> {
    const checkpointId = ++this.#checkpoint;
    const segment = (await this.#store.snapshot(checkpointId).segment).bytes;
    const checksum = await this.#folder.hold(segment);
    this.change(50);
    await this.#folder.completed({ checkpointId, epoch: 1 }, [{ ...range, checksum }]);
    if (fold) await this.#folder.fold();
    this.#store.completed(checkpointId);
    this.change(50);
    this.#view.advance(this.#folder.describe());
    this.change(50);
    this.#store.advanced(checkpointId);
  }

  /** A checkpoint, and a new task from there. */
  async restart(): Promise<void> {
    const checkpointId = ++this.#checkpoint;
    const checksum = await this.#folder.hold((await this.#store.snapshot(checkpointId).segment).bytes);
    await this.#folder.completed({ checkpointId, epoch: 1 }, [{ ...range, checksum }]);
    await this.#view.close();
    this.#view = await viewOf(this.#machine, this.#folder);
    this.#store = newStore(this.#view);
    this.#store.restore([await restoreSegment(this.#view, [])]);
    equal(this.#store.stats().entries, 0, 'nothing is loaded');
  }

  check(): void {
    for (let n = 0; n < keys; n++) {
      const at = [n % 8, Math.imul(n, 0x9e3779b1), bytes(`key ${n}`)] as const;
      const lanes = this.#store.laneTable('lanes', 1);
      for (const window of [0, 60_000]) {
        const slot = lanes.find(...at, window);
        equal(slot < 0 ? undefined : lanes.values[slot], this.counts.get(`${n}/${window}`));
      }
      const entries = this.#store.byteTable('bytes').entries(...at);
      const expected = subs.flatMap((sub, i) => {
        const value = this.values.get(`${n}/${i}`);
        return value === undefined ? [] : [[Buffer.from(sub).toString(), value]];
      });
      deepEqual(
        entries.map(([sub, value]) => [Buffer.from(sub).toString(), Buffer.from(value).toString()]),
        expected,
      );
    }
  }

  get entries(): number {
    return this.#store.stats().entries;
  }

  async close(): Promise<void> {
    await this.#view.close();
    await this.#folder.close();
  }
}

function viewOf(machine: Machine, folder: StateFolder): Promise<StateView> {
  const { files, bases } = machine.process();
  return StateView.open(folder.describe(), { files, bases, range });
}

function newStore(cold: StateView): MemoryStateStore {
  return new MemoryStateStore(range, { chainLengthMax: Number.POSITIVE_INFINITY, cold, memoryBytesMax: 40_000 });
}

for (const seed of [1, 2, 3, 4]) {
  test(`tables over a view, folded or not, with most entries beneath, hold what plain maps do (seed ${seed})`, async () => {
    const task = await Task.start(seed);
    for (let round = 0; round < 30; round++) {
      task.change(200);
      await task.checkpoint(round % 5 === 4);
      if (round % 10 === 9) await task.restart();
      if (round % 6 === 5) task.check();
    }
    task.check();
    const all = task.values.size + task.counts.size;
    ok(task.entries < all / 2, `${task.entries} of ${all} entries in memory: this tests nothing`);
    await task.close();
  });
}
