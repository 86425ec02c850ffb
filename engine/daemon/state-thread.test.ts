import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bootId, nodeByteFiles, nodeDisk, silentLogger, systemClock, systemRandom } from '../../base/index.js';
import type { RpcPeer } from '../../base/rpc/index.js';
import {
  CheckpointStore,
  DirectoryBlobStore,
  type KeyGroups,
  MemoryBlobStore,
  readPins,
  SegmentHome,
  type SegmentRef,
} from '../../checkpoint/index.js';
import { lmdbBaseStores, MemoryStateStore, StateView, type ViewDescription } from '../../statestore/index.js';
import { decodeDescribe, LocalState, SERVICE } from '../runtime/index.js';
import { operatorSegments } from './operator-parts.js';
import { serveSegments } from './segment-service.js';
import { type HostStateEnd, openState, type StateThread } from './state-thread.js';

const random = systemRandom();
const logger = silentLogger();
const RANGES = [
  { first: 0, last: 63 },
  { first: 64, last: 127 },
];

/** Two tasks with a value for each of 128 keys, one a key group, their home, their leader, and the thread. */
class Host {
  readonly #folder: string;
  readonly #tasks = RANGES.map((range) => new MemoryStateStore(range, { chainLengthMax: Number.POSITIVE_INFINITY }));
  readonly #segments: (readonly SegmentRef[])[] = [[], []];
  readonly store: DirectoryBlobStore;
  readonly #home: SegmentHome;
  readonly #leader: CheckpointStore;
  thread: StateThread;
  #id = 0;

  private constructor(folder: string, store: DirectoryBlobStore, leader: CheckpointStore) {
    this.store = store;
    this.#folder = folder;
    this.#home = new SegmentHome({ store, random, host: 'h' });
    this.#leader = leader;
    this.thread = this.start();
  }

  static async open(): Promise<Host> {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-state-'));
    const store = await DirectoryBlobStore.open({ disk: nodeDisk(), root: join(folder, 'store'), random });
    const leader = await CheckpointStore.open({ store, random, logger });
    await leader.takeOver();
    return new Host(folder, store, leader);
  }

  start(name = 'state'): StateThread {
    const settings = { stateFolder: join(this.#folder, name), logLevel: 'error' as const };
    const checkpoints = { url: join(this.#folder, 'store') };
    return openState({ ...settings, checkpoints }, bootId(), logger) as StateThread;
  }

  /** Sets keys to the number of the checkpoint, and completes it. */
  async checkpoint(keys: readonly number[]): Promise<void> {
    const checkpoint = ++this.#id;
    const { epoch } = this.#leader;
    const held: { task: string; attempt: number }[] = [];
    for (const [i, state] of this.#tasks.entries()) {
      const table = state.byteTable('n1/values');
      for (const key of keys) {
        const { first, last } = state.range;
        if (key >= first && key <= last)
          table.put(key, key, Buffer.from([key]), new Uint8Array(0), Buffer.from([checkpoint]));
      }
      state.operatorValue('n1/owner').set(new Uint8Array([i, checkpoint]));
      const segment = await state.snapshot(checkpoint).segment;
      if (segment.empty) continue;
      const task = `v1.${i}`;
      this.#home.hold(task, 1, checkpoint, segment.bytes);
      this.thread.hold('v1', segment.bytes);
      held.push({ task, attempt: 1 });
    }
    const refs = await this.#home.persist(checkpoint, epoch, held);
    this.thread.stored(checkpoint, epoch, operatorSegments(refs));
    const tasks = this.#tasks.map((_, i) => {
      const added = refs.get(`v1.${i}`);
      const segments = added === undefined ? (this.#segments[i] ?? []) : [...(this.#segments[i] ?? []), added];
      this.#segments[i] = segments;
      return { task: `v1.${i}`, finished: false, segments, position: '{}' };
    });
    await this.#leader.publish({ format: 2, checkpointId: checkpoint, epoch, tasks, meta: '', final: false });
    this.thread.completed(checkpoint, epoch);
    for (const state of this.#tasks) state.completed(checkpoint);
  }

  segments(task: number): readonly SegmentRef[] {
    return this.#segments[task] ?? [];
  }

  async describe(): Promise<ViewDescription> {
    await this.thread.idle();
    const description = await this.thread.describe('v1');
    ok(description !== undefined);
    return description;
  }

  /** As a task of all key groups would read them. */
  async values(): Promise<(number | undefined)[]> {
    const options = { bases: lmdbBaseStores(), files: nodeByteFiles(), range: { first: 0, last: 127 } };
    const view = await StateView.open(await this.describe(), options);
    ok(view.isLocal);
    const table = view.table('n1/values');
    const values = Array.from({ length: 128 }, (_, key) =>
      table.find(key, Buffer.from([key]), new Uint8Array(0)) === 1 ? table.bytes[table.end - 1] : undefined,
    );
    await view.close();
    return values;
  }

  async close(): Promise<void> {
    await this.thread.close();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Its services, called without a connection; notes what was asked. */
function daemonOf(host: Host, asked: [name: string, body: Uint8Array][] = []): RpcPeer {
  const services = new Map<string, (body: Uint8Array) => unknown>();
  const { store } = host;
  const home = new SegmentHome({ store, random, host: 'h' });
  const closed = new Promise<void>(() => {});
  const served = { closed, serve: (name: string, run: (body: Uint8Array) => unknown) => services.set(name, run) };
  const state = host.thread;
  serveSegments(served as unknown as RpcPeer, { home, store, host: 'h', clock: systemClock(), random, state });
  const request = async (name: string, body: Uint8Array) => {
    asked.push([name, body]);
    return services.get(name)?.(body);
  };
  return { request } as unknown as RpcPeer;
}

describe('the state of a host, on a thread of its daemon', () => {
  it('is that of the newest completed checkpoint, folded, and there again after a restart', async () => {
    const host = await Host.open();
    const expected: (number | undefined)[] = Array.from({ length: 128 }, () => undefined);
    for (let checkpoint = 1; checkpoint <= 40; checkpoint++) {
      const keys = [checkpoint, (checkpoint * 7) % 128, 127];
      for (const key of keys) expected[key] = checkpoint;
      await host.checkpoint(keys);
      if (checkpoint % 10 === 0) deepEqual(await host.values(), expected);
    }
    const { ranges, line } = await host.describe();
    equal(line.checkpointId, 40);
    ok(
      ranges.every((range) => range.line.checkpointId > 16),
      'it was folded',
    );
    await host.thread.close();
    host.thread = host.start();
    deepEqual(await host.values(), expected);
    await host.close();
  });

  it('is what a task of its key groups starts from, and of no others, and at no other checkpoint', async () => {
    const host = await Host.open();
    await host.checkpoint([1, 2, 100]);
    await host.checkpoint([2]);
    await host.thread.idle();
    const daemon = daemonOf(host);
    const options = { daemon, bases: lmdbBaseStores(), files: nodeByteFiles(), logger };
    const range = RANGES[0] as KeyGroups;
    const segments = host.segments(0);
    equal(segments.length, 2);
    const local = await LocalState.open('v1', range, segments, options);
    ok(local !== undefined);
    equal(local.view.line.checkpointId, 2);
    const restored = new MemoryStateStore(range);
    restored.restore([await local.restoreSegment()]);
    deepEqual(restored.operatorNames(), ['n1/owner']);
    deepEqual(Buffer.from(restored.operatorValue('n1/owner').get() ?? []), Buffer.from([0, 2]));
    await host.checkpoint([1]);
    await host.thread.idle();
    equal(await local.advance(2), 2);
    equal(await local.advance(3), 3);
    await local.close();
    for (const [operator, of, wanted] of [
      ['v1', { first: 0, last: 127 }, host.segments(0)],
      ['v1', range, host.segments(1)],
      ['v1', range, segments],
      ['v1', range, []],
      ['v2', range, host.segments(0)],
    ] as const) {
      equal(await LocalState.open(operator, of, wanted, options), undefined);
    }
    await (await LocalState.open('v1', range, host.segments(0), options))?.close();
    await host.close();
  });

  it('is read where it is stored, key by key, by a task on a host that has nothing of it yet', async () => {
    const host = await Host.open();
    await host.checkpoint([1, 2, 3, 100]);
    await host.checkpoint([2]);
    await host.thread.close();
    host.thread = host.start('of another host');
    const asked: [name: string, body: Uint8Array][] = [];
    const options = { daemon: daemonOf(host, asked), bases: lmdbBaseStores(), files: nodeByteFiles(), logger };
    const local = await LocalState.open('v1', RANGES[0] as KeyGroups, host.segments(0), options);
    ok(local !== undefined && !local.view.isLocal);
    deepEqual(
      (await readPins(host.store)).map(({ manifest }) => manifest.checkpointId),
      [2],
    );
    const restored = new MemoryStateStore(RANGES[0] as KeyGroups, { cold: local.view });
    restored.restore([await local.restoreSegment()]);
    deepEqual(Buffer.from(restored.operatorValue('n1/owner').get() ?? []), Buffer.from([0, 2]));
    const get = (key: number) => restored.byteTable('n1/values').get(key, key, Buffer.from([key]), new Uint8Array(0));
    throws(() => get(2), { code: 'STATE_AWAY' });
    const before = asked.length;
    await local.view.ready(2, Buffer.from([2]));
    deepEqual([...(get(2) ?? [])], [2]);
    ok(asked.slice(before).every(([name]) => name === SERVICE.readObject || name === SERVICE.forgetObject));
    throws(() => get(3), { code: 'STATE_AWAY' }, 'nobody waited for this one');
    // Meanwhile the host fetches all of it.
    await host.thread.idle();
    await host.checkpoint([4]);
    equal(await local.advance(3), 3);
    const described = asked.filter(([name]) => name === SERVICE.describeState).map(([, body]) => decodeDescribe(body));
    deepEqual(described, [{ operator: 'v1', heat: [[2, 1]] }]);
    ok(local.view.isLocal);
    deepEqual(
      [get(1), get(3), get(4)].map((value) => value?.[0]),
      [1, 1, 3],
    );
    await host.checkpoint([5]);
    await host.checkpoint([6]);
    await host.thread.idle();
    deepEqual(await readPins(host.store), []);
    await local.close();
    await host.close();
  });

  it('lets go of what a killed reader pinned, when the daemon has it checked', async () => {
    const host = await Host.open();
    await host.checkpoint([1, 100]);
    const support = fileURLToPath(new URL('./state-reader.test.support.js', import.meta.url));
    const reader = fork(support, [JSON.stringify(await host.describe())]);
    equal((await once(reader, 'message'))[0], 1);
    equal(await host.thread.checkReaders(), 0);
    reader.kill('SIGKILL');
    await once(reader, 'exit');
    equal(await host.thread.checkReaders(), 1);
    equal(await host.thread.checkReaders(), 0);
    await host.close();
  });

  it('has its readers checked after every death: a dead reader pins pages', async () => {
    let checks = 0;
    const state = { checkReaders: async () => ++checks } as unknown as HostStateEnd;
    const store = new MemoryBlobStore();
    let die = () => {};
    const closed = new Promise<void>((resolve) => {
      die = resolve;
    });
    const peer = { closed, serve() {} } as unknown as RpcPeer;
    const home = new SegmentHome({ store, random, host: 'h' });
    serveSegments(peer, { home, store, host: 'h', clock: systemClock(), random, state });
    equal(checks, 0);
    die();
    await closed;
    equal(checks, 1);
  });
});
