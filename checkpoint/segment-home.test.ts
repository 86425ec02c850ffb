import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../base/index.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import type { SegmentRef } from './manifest.js';
import { entriesOf, segmentOf } from './segment/segment-of.test.support.js';
import { readSegment } from './segment/stored-segment.js';
import { SegmentHome } from './segment-home.js';

function setUp(options: { inlineBytesMax?: number; heldBytesMax?: number } = {}) {
  const store = new MemoryBlobStore();
  const home = new SegmentHome({ store, random: seededRandom(1), host: 'host-1', ...options });
  const verify = async (refs: Awaited<ReturnType<SegmentHome['persist']>>, task: string) =>
    entriesOf(await readSegment(store, refs.get(task) as SegmentRef))[0]?.value;
  return { store, home, verify };
}

/** All of one length. */
const holding = (value: string, full = true) => segmentOf([{ keyGroup: 1, key: 'k', value }], { full });
const bytesOfOne = holding('x').length;
const a = { task: 'a', attempt: 1 };
const b = { task: 'b', attempt: 2 };

describe('segment home', () => {
  it('merges the segments of a checkpoint into one object', async () => {
    const { store, home, verify } = setUp({ inlineBytesMax: bytesOfOne });
    home.hold('a', 1, 7, holding('1'));
    home.hold('b', 2, 7, holding('4', false));
    const refs = await home.persist(7, 3, [a, b]);
    const objects = await store.list('');
    equal(objects.length, 1);
    ok(objects[0]?.startsWith('segments/3-7-host-1-'));
    equal(await verify(refs, 'a'), '1');
    equal(await verify(refs, 'b'), '4');
    equal(refs.get('a')?.full, true);
    equal(refs.get('b')?.full, false);
  });

  it('returns small ones for HEAD and writes nothing', async () => {
    const { store, home, verify } = setUp({ inlineBytesMax: 2 * bytesOfOne });
    home.hold('a', 1, 7, holding('1'));
    home.hold('b', 2, 7, holding('4'));
    const refs = await home.persist(7, 1, [a, b]);
    deepEqual(await store.list(''), []);
    equal(await verify(refs, 'b'), '4');
  });

  it('a buffer reused by the caller while held does not change the segment (bookkeeper#2563)', async () => {
    // A Buffer's `slice` is no copy, and what comes off a connection is a Buffer.
    for (const copied of [(bytes: Uint8Array) => new Uint8Array(bytes), (bytes: Uint8Array) => Buffer.from(bytes)]) {
      const { home, verify } = setUp();
      const buffer = copied(holding('1'));
      home.hold('a', 1, 1, buffer);
      buffer.fill(9);
      equal(await verify(await home.persist(1, 1, [a]), 'a'), '1');
    }
  });

  it('an order repeated because its answer was lost writes nothing twice; one that failed is tried under a new name', async () => {
    const { store, home } = setUp({ inlineBytesMax: 0 });
    home.hold('a', 1, 1, holding('1'));
    const [first, second] = await Promise.all([home.persist(1, 1, [a]), home.persist(1, 1, [a])]);
    equal(first, second);
    equal((await store.list('')).length, 1);
    home.hold('a', 1, 2, holding('2'));
    const put = store.put.bind(store);
    let refused = '';
    store.put = async (name) => {
      refused = name;
      throw new Error('outage');
    };
    await rejects(home.persist(2, 1, [a]), /outage/);
    store.put = put;
    const refs = await home.persist(2, 1, [a]);
    ok(refs.get('a')?.object !== refused);
  });

  it('a segment that is not there is lost, by name', async () => {
    const { home } = setUp();
    home.hold('a', 1, 1, holding('1'));
    await rejects(home.persist(1, 1, [a, b]), {
      code: 'SEGMENT_LOST',
      kind: 'unavailable',
      message: /of b \(attempt 2\)/,
    });
    await rejects(home.persist(2, 1, [a]), { code: 'SEGMENT_LOST' });
    home.drop('a', 1);
    await rejects(home.persist(1, 1, [a]), { code: 'SEGMENT_LOST' });
    equal(home.heldBytes, 0);
  });

  it('the snapshot of a dead attempt is not given out for its successor', async () => {
    const { home } = setUp();
    home.hold('a', 1, 1, holding('1'));
    await rejects(home.persist(1, 1, [{ task: 'a', attempt: 2 }]), { code: 'SEGMENT_LOST' });
  });

  it('orders of a replaced leader are refused', async () => {
    const { home } = setUp();
    home.hold('a', 1, 1, holding('1'));
    await home.persist(1, 5, [a]);
    throws(() => home.persist(1, 4, [a]), { code: 'EPOCH_STALE', kind: 'fenced' });
    throws(() => home.abort(1, 4), { code: 'EPOCH_STALE' });
    throws(() => home.completed(1, 4), { code: 'EPOCH_STALE' });
    equal(home.heldBytes, bytesOfOne);
  });

  it('lets go of what is aborted or complete, and refuses more than its bound', async () => {
    const { home } = setUp({ heldBytesMax: 2 * bytesOfOne });
    home.hold('a', 1, 1, holding('1'));
    home.hold('a', 1, 2, holding('2'));
    home.hold('a', 1, 2, holding('2'));
    throws(() => home.hold('a', 1, 3, holding('3')), { code: 'SEGMENT_HOME_FULL' });
    equal(home.heldBytes, 2 * bytesOfOne);
    home.abort(1);
    home.hold('a', 1, 3, holding('3'));
    home.completed(2);
    equal(home.heldBytes, bytesOfOne);
    await rejects(home.persist(2, 1, [a]), { code: 'SEGMENT_LOST' });
  });
});
