import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MillraceError, seededRandom, silentLogger } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { CheckpointStore } from '../checkpoint-store.js';
import { collectGarbage } from '../collect-garbage.js';
import type { Manifest } from '../manifest.js';
import { pin, unpin } from '../pin.js';
import { segmentOf } from '../segment/segment-of.test.support.js';
import { SegmentHome } from '../segment-home.js';
import { headModel } from './head-model.test.support.js';
import { realDecisions } from './head-model-decisions.test.support.js';
import type { Budget, Setup } from './head-model-world.test.support.js';

/*
 * The model stands for the code: what the real classes ask of the store, in this order, is what the steps of the model ask. Without this,
 * a request moved to another place (pins read before HEAD, say) would leave the model as sound as before.
 */

/** What a step of the model asks of the store. */
const requestsOf: readonly (readonly [step: RegExp, ...requests: string[]])[] = [
  [/a late .* arrives|begins to publish|reader 1 finds/],
  [/reads HEAD|cannot read HEAD/, 'read HEAD'],
  [/moves HEAD|its move of HEAD/, 'compareAndSet HEAD'],
  [/stores segments|has the merged/, 'put segments'],
  [/stores the manifest/, 'put manifests'],
  [/reads the kept manifests/, 'get manifests'],
  [/reader 1 pins/, 'put pins'],
  [/lists \d+ pins/, 'list pins'],
  [/reads \d+ pins/, 'get pins'],
  [/lists the objects/, 'list manifests', 'list segments'],
  [/deletes segments/, 'delete segments'],
  [/deletes manifests/, 'delete manifests'],
  [/its pin$/, 'delete pins'],
];

/** Takes, for each pattern, the step that fits; returns the requests of all. */
function modelled(changes: Partial<Omit<Setup, 'budget'>>, budget: Partial<Budget>, path: readonly RegExp[]): string[] {
  const nothing = { unanswered: 0, crashes: 0, resets: 0, rollBacks: 0, compactions: 0, aborts: 0 };
  const model = headModel({
    name: '',
    decisions: realDecisions,
    writers: 1,
    collectors: 1,
    readers: 1,
    idMax: 9,
    epochMax: 9,
    retained: 1,
    movesManifests: false,
    carried: 0,
    bases: 'latest',
    attemptsMax: 5,
    findsLeaks: true,
    ...changes,
    budget: { ...nothing, ...budget },
  });
  let world = model.initial;
  const requests: string[] = [];
  for (const pattern of path) {
    const steps = [...model.steps(world)];
    const step = steps.find(({ label }) => pattern.test(label));
    if (step === undefined) throw new Error(`no step ${pattern} among\n${steps.map(({ label }) => label).join('\n')}`);
    const found = requestsOf.find(([wanted]) => wanted.test(step.label));
    if (found === undefined) throw new Error(`what does "${step.label}" ask of the store?`);
    requests.push(...found.slice(1).map(String));
    world = step.to;
  }
  return requests;
}

/** Notes requests; loses so many compare-and-sets, before the store or on the way back. */
class NotingStore {
  readonly requests: string[] = [];
  loseRequests = 0;
  loseAnswers = 0;
  readonly store: BlobStore;

  constructor(inner: BlobStore) {
    const noted = <T>(request: string, name: string, call: () => Promise<T>): Promise<T> => {
      this.requests.push(`${request} ${name.split('/')[0]}`);
      return call();
    };
    const lost = () => new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
    this.store = {
      location: inner.location,
      put: (name, bytes) => noted('put', name, () => inner.put(name, bytes)),
      get: (name, range) => noted('get', name, () => inner.get(name, range)),
      stat: (name) => noted('stat', name, () => inner.stat(name)),
      delete: (name) => noted('delete', name, () => inner.delete(name)),
      list: (prefix) => noted('list', prefix, () => inner.list(prefix)),
      read: (name) => noted('read', name, () => inner.read(name)),
      compareAndSet: (name, expected, bytes) =>
        noted('compareAndSet', name, async () => {
          if (this.loseRequests-- > 0) throw lost();
          const version = await inner.compareAndSet(name, expected, bytes);
          if (this.loseAnswers-- > 0) throw lost();
          return version;
        }),
    };
  }
}

/** A leader and a home that stores every segment in an object. */
async function real(options: { readonly headBytesMax?: number } = {}) {
  const noting = new NotingStore(new MemoryBlobStore());
  const { store, requests } = noting;
  const random = seededRandom(3);
  const leader = await CheckpointStore.open({ store, random, logger: silentLogger(), retained: 1, ...options });
  const home = new SegmentHome({ store, random, host: 'h', inlineBytesMax: 0 });
  requests.length = 0;
  const manifest = async (checkpointId: number): Promise<Manifest> => {
    const { epoch } = leader;
    home.hold('t', 1, checkpointId, segmentOf([{ keyGroup: 1, key: 'k', value: 'v' }], { checkpointId }));
    const refs = await home.persist(checkpointId, epoch, [{ task: 't', attempt: 1 }]);
    const tasks = [{ task: 't', finished: false, segments: [...refs.values()], position: '' }];
    return { format: 2, checkpointId, epoch, tasks, meta: '', final: false };
  };
  return { noting, store, requests, random, leader, manifest };
}

const takeOver = [/A reads HEAD to take over/, /A moves HEAD to take over/];
const publish = [/A stores segments/, /A begins/, /A moves HEAD/];
const publishMoved = [/A stores segments/, /A begins/, /A stores the manifest/, /A moves HEAD/];

describe('the model asks of the store what the code does', () => {
  it('taking over, storing, publishing', async () => {
    const { requests, leader, manifest } = await real();
    await leader.takeOver();
    await leader.publish(await manifest(1));
    deepEqual(requests, modelled({}, {}, [...takeOver, ...publish]));
  });

  it('pinning and collecting, with manifests outside HEAD', async () => {
    const { store, requests, random, leader, manifest } = await real({ headBytesMax: 100 });
    await leader.takeOver();
    const first = await manifest(1);
    await leader.publish(first);
    const held = await pin(store, first, 'r', random);
    await leader.publish(await manifest(2));
    await collectGarbage(store);
    await unpin(store, held);
    const path = [
      ...takeOver,
      ...publishMoved,
      /reader 1 finds/,
      /reader 1 pins/,
      /reader 1 reads HEAD/,
      ...publishMoved,
      /collector 1 reads HEAD/,
      /collector 1 reads the kept/,
      /collector 1 lists 1 pins/,
      /collector 1 reads 1 pins/,
      /collector 1 lists the objects, and finds 1 dead/,
      /collector 1 deletes manifests/,
      /reader 1 removes its pin/,
    ];
    deepEqual(requests, modelled({ movesManifests: true }, {}, path));
  });

  it('a pin that comes too late', async () => {
    const { store, requests, random, leader, manifest } = await real();
    await leader.takeOver();
    const first = await manifest(1);
    await leader.publish(first);
    await leader.publish(await manifest(2));
    await rejects(pin(store, first, 'r', random), { code: 'CHECKPOINT_NOT_FOUND' });
    const pinning = [/reader 1 pins/, /reader 1 reads HEAD and finds .* gone/, /reader 1 withdraws its pin/];
    const path = [...takeOver, ...publish, /reader 1 finds/, ...publish, ...pinning];
    deepEqual(requests, modelled({}, {}, path));
  });

  it('a publication built on a checkpoint that is not kept any more, manifests outside HEAD', async () => {
    const { requests, leader, manifest } = await real({ headBytesMax: 100 });
    await leader.takeOver();
    const first = await manifest(1);
    await leader.publish(first);
    await leader.publish(await manifest(2));
    const third = await manifest(3);
    await rejects(leader.publish({ ...third, tasks: first.tasks }), { code: 'SEGMENT_DEAD' });
    // Of what HEAD keeps; in the model a part of the step that begins to publish.
    equal(requests.pop(), 'get manifests');
    deepEqual(
      requests,
      modelled({ movesManifests: true }, {}, [...takeOver, ...publishMoved, ...publishMoved, /A stores/]),
    );
  });

  it('an answer that is lost', async () => {
    const { noting, requests, leader, manifest } = await real();
    await leader.takeOver();
    noting.loseAnswers = 1;
    await leader.publish(await manifest(1));
    const lost = [/A hears nothing of its move/, /a late move/, /A reads HEAD .*: moved/];
    deepEqual(requests, modelled({}, { unanswered: 1 }, [...takeOver, ...publish.slice(0, 2), ...lost]));
  });

  it('a conflict with another leader', async () => {
    const { store, requests, random, leader, manifest } = await real();
    await leader.takeOver();
    const first = await manifest(1);
    const other = await CheckpointStore.open({ store, random, logger: silentLogger() });
    requests.pop();
    await other.takeOver();
    await rejects(leader.publish(first), { code: 'LEADER_FENCED' });
    const replaced = [/B reads HEAD to take over/, /B moves HEAD to take over/];
    const path = [...takeOver, /A stores/, ...replaced, /A begins/, /A meets a conflict/, /A reads HEAD .*: fenced/];
    deepEqual(requests, modelled({ writers: 2 }, {}, path));
  });

  it('a publication that never gets an answer, and the regain after it', async () => {
    const { noting, requests, leader, manifest } = await real();
    await leader.takeOver();
    noting.loseRequests = 5;
    await rejects(leader.publish(await manifest(1)), { code: 'STORE_UNAVAILABLE' });
    await leader.regain();
    const tries = Array.from({ length: 5 }, () => [/A hears nothing of its move/, /A reads HEAD .*: not moved/]).flat();
    const path = [...takeOver, ...publish.slice(0, 2), ...tries, /A reads HEAD to regain/, /A moves HEAD to regain/];
    deepEqual(requests, modelled({}, { unanswered: 5 }, path));
  });

  it('a reservation, before a publication is begun and while it is under way', async () => {
    const { store, leader, manifest } = await real();
    await leader.takeOver();
    await leader.publish(await manifest(1));
    const second = await manifest(2);
    equal(leader.reserve().checkpointId, 2);
    const compareAndSet = store.compareAndSet.bind(store);
    const during: number[] = [];
    store.compareAndSet = (...args) => {
      during.push(leader.reserve().checkpointId);
      return compareAndSet(...args);
    };
    await leader.publish(second);
    deepEqual(during, [3]);
  });
});
