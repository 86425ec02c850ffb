import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type MillraceError, nodeDisk } from '../base/index.js';
import { type Fault, faultyDisk, openStore, partOf, StoppedClock } from './region-store.test.support.js';
import { SpillDisk } from './spill-disk.js';

const root = mkdtempSync(join(tmpdir(), 'millrace-region-faults-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
const freshFolder = () => join(root, `disk-${folders++}`);

/** A disk under whose folders `faults` says what each call does, and who is told when one hangs. */
function rigged() {
  const faults = new Map<string, Fault>();
  const calls: string[] = [];
  let tellHung = () => {};
  const disk = faultyDisk(nodeDisk(), (call, path) => {
    calls.push(`${call} ${path}`);
    for (const [key, fault] of faults) {
      const [name, folder] = key.split(' ') as [string, string];
      if ((name !== '*' && name !== call) || !path.startsWith(folder)) continue;
      if (fault === 'hang') tellHung();
      return fault;
    }
    return 'none';
  });
  const nextHang = () =>
    new Promise<void>((resolve) => {
      tellHung = resolve;
    });
  return { disk, faults, calls, nextHang };
}

describe('a spill disk that fails', () => {
  for (const call of ['append', 'file.append', 'file.sync']) {
    it(`a disk whose ${call} hangs is set aside after the deadline, and the next one is used`, async () => {
      const [bad, good] = [freshFolder(), freshFolder()];
      const { disk, faults, nextHang } = rigged();
      const clock = new StoppedClock();
      const { store, events } = await openStore([bad, good], { disk, clock, deadlineMs: 500 });
      await store.write('w', [partOf('old', 0, 0, 3)], { durable: true });
      equal(readdirSync(bad).length, 1, 'the first disk has the first region');
      await store.write('w', [partOf('other', 0, 0, 9)], { durable: true });
      faults.set(`${call} ${bad}`, 'hang');
      const hung = nextHang();
      let written = false;
      const write = store.write('w', [partOf('p', 0, 0, 4)], { durable: true }).then(() => {
        written = true;
      });
      await hung;
      clock.advance(499);
      await new Promise(setImmediate);
      equal(written, false);
      clock.advance(1);
      await write;
      equal(clock.timers, 0, 'no deadline is left running');
      equal((await store.read('p', 0, 0, 1e9)).length, 4);
      const [{ kind, reason } = { kind: '', reason: '' }] = events;
      equal(kind, 'diskSetAside');
      match(reason, /took longer than 500 ms/);
      for (let i = 0; i < 2; i++) {
        await rejects(store.read('old', 0, 1, 100), (e: MillraceError) => {
          equal(e.code, 'PARTITION_LOST');
          deepEqual(e.context, { partition: 'old', subpartition: 0, seq: 1 });
          ok(e.message.includes(bad), e.message);
          return true;
        });
      }
      deepEqual(
        events.map((e) => (e.kind === 'lost' ? `${e.kind} ${e.partition}` : e.kind)),
        ['diskSetAside', 'lost old'],
        'each told once',
      );
      equal(store.metrics.disksSetAside, 1);
      await rejects(store.finish('w', new Uint8Array(1)), { code: 'PARTITION_LOST' });
      await store.drop('w');
      equal(store.metrics.regions, 0);
      await store.close();
      deepEqual(readdirSync(good), []);
    });
  }

  it('when no disk is left, the error names all of them', async () => {
    const both = [freshFolder(), freshFolder()];
    const { disk, faults } = rigged();
    const { store, events } = await openStore(both, { disk });
    for (const folder of both) faults.set(`file.append ${folder}`, 'DISK_FAILED');
    await rejects(store.write('w', [partOf('p', 0, 0, 4)], { durable: false }), (e: MillraceError) => {
      equal(e.code, 'SPILL_UNAVAILABLE');
      equal(e.kind, 'unavailable');
      for (const folder of both) ok(e.message.includes(folder), e.message);
      return true;
    });
    deepEqual(
      events.map(({ kind }) => kind),
      ['diskSetAside', 'diskSetAside'],
    );
    await rejects(store.finish('w', new Uint8Array(1)), { code: 'SPILL_UNAVAILABLE' });
    await store.close();
  });

  it('a failed sync is final: the disk is not asked again', async () => {
    const [bad, good] = [freshFolder(), freshFolder()];
    const { disk, faults, calls } = rigged();
    const { store } = await openStore([bad, good], { disk });
    faults.set(`file.sync ${bad}`, 'DISK_FAILED');
    await store.write('w', [partOf('p', 0, 0, 4)], { durable: true });
    faults.clear();
    const before = calls.length;
    await store.write('w', [partOf('p', 0, 4, 8)], { durable: true });
    equal((await store.read('p', 0, 0, 1e9)).length, 8);
    await store.finish('w', new Uint8Array(0));
    await store.drop('w');
    await store.close();
    deepEqual(
      calls.slice(before).filter((call) => call.includes(bad)),
      [],
    );
  });

  it('a full disk is not set aside: the next one is used, no half file stays, and it is used again when it has room', async () => {
    const [one, two] = [freshFolder(), freshFolder()];
    const { disk, faults } = rigged();
    const { store, events } = await openStore([one, two], { disk });
    faults.set(`file.append ${one}`, 'DISK_FULL');
    await store.write('w', [partOf('p', 0, 0, 4)], { durable: true });
    deepEqual([readdirSync(one).length, readdirSync(two).length], [0, 1]);
    faults.set(`file.append ${two}`, 'DISK_FULL');
    await rejects(store.write('w', [partOf('p', 0, 4, 8)], { durable: true }), {
      code: 'SPILL_FULL',
      kind: 'unavailable',
    });
    deepEqual([readdirSync(one).length, readdirSync(two).length], [0, 1]);
    faults.clear();
    await store.write('w', [partOf('p', 0, 4, 8)], { durable: true });
    deepEqual([readdirSync(one).length, readdirSync(two).length], [1, 1]);
    equal((await store.read('p', 0, 0, 1e9)).length, 8);
    deepEqual(events, []);
    await store.close();
  });

  it('more than diskBytesMax is refused, and accepted again when something was dropped', async () => {
    const folder = freshFolder();
    const { store } = await openStore([folder], { diskBytesMax: 2000 });
    await store.write('v', [partOf('q', 0, 0, 15)], { durable: true });
    await rejects(store.write('w', [partOf('p', 0, 0, 15)], { durable: true }), { code: 'SPILL_FULL' });
    await rejects(store.write('w', [partOf('p', 0, 0, 100)], { durable: true }), { code: 'SPILL_FULL' });
    await store.drop('v');
    await store.write('w', [partOf('p', 0, 0, 15)], { durable: true });
    ok(store.metrics.bytesOnDisk <= 2000);
    await store.close();
  });

  it('a disk that cannot be read at open is set aside, and the others serve', async () => {
    const [bad, good] = [freshFolder(), freshFolder()];
    const { disk, faults } = rigged();
    const first = await openStore([bad, good], { disk });
    await first.store.write('w', [partOf('p', 0, 0, 4)], { durable: true });
    await first.store.write('w', [partOf('p', 0, 4, 12)], { durable: true });
    await first.store.finish('w', Buffer.from('of w'));
    await first.store.close();
    faults.set(`list ${bad}`, 'DISK_FAILED');
    const { store, events } = await openStore([bad, good], { disk });
    deepEqual(
      events.map(({ kind }) => kind),
      ['diskSetAside'],
    );
    deepEqual(store.recovered, [{ writer: 'w', spec: new Uint8Array(Buffer.from('of w')), sameBoot: true }]);
    await rejects(store.read('p', 0, 0, 1), { code: 'PARTITION_LOST' });
    equal((await store.read('p', 0, 4, 1e9)).length, 8);
    await store.close();
  });

  it('what a writer finished with is missed when its disk is gone, not taken for the end', async () => {
    const [one, gone] = [freshFolder(), freshFolder()];
    const first = await openStore([one, gone]);
    await first.store.write('w', [partOf('p', 0, 0, 4)], { durable: true });
    await first.store.write('w', [partOf('p', 0, 4, 12)], { durable: true });
    await first.store.finish('w', Buffer.from('of w'));
    await first.store.close();
    rmSync(gone, { recursive: true });
    const { store, events } = await openStore([one, gone]);
    equal(store.ranges('p').get(0)?.next, 12);
    equal((await store.read('p', 0, 0, 1e9)).length, 4);
    await rejects(store.read('p', 0, 4, 1e9), { code: 'PARTITION_LOST' });
    deepEqual(
      events.map(({ kind }) => kind),
      ['lost'],
    );
    await store.close();
  });
});

describe('SpillDisk', () => {
  it('has few calls under way, so that a hung disk leaves threads to others, and tells all who wait when it is set aside', async () => {
    const told: string[] = [];
    const clock = new StoppedClock();
    const onSetAside = (folder: string, reason: string) => void told.push(`${folder}: ${reason}`);
    const disk = new SpillDisk({ disk: nodeDisk(), folder: '/x', clock, deadlineMs: 10, onSetAside });
    let started = 0;
    const hang = () => {
      started++;
      return new Promise<void>(() => {});
    };
    const calls = ['a', 'b', 'c', 'd'].map((name) => disk.call(name, hang));
    equal(started, 2);
    clock.advance(10);
    const outcomes = await Promise.allSettled(calls);
    ok(outcomes.every((o) => o.status === 'rejected' && o.reason.code === 'SPILL_DISK_SET_ASIDE'));
    equal(started, 2);
    deepEqual(told, ['/x: a took longer than 10 ms']);
    equal(clock.timers, 0);
    await rejects(disk.call('e', hang), { code: 'SPILL_DISK_SET_ASIDE' });
  });

  it('starts what waits when a call ends, however it ended', async () => {
    const clock = new StoppedClock();
    const disk = new SpillDisk({ disk: nodeDisk(), folder: root, clock, deadlineMs: 10, onSetAside: () => {} });
    const missing = () => disk.call('reading', (on) => on.read(join(root, 'missing')));
    const outcomes = await Promise.allSettled([
      missing(),
      missing(),
      missing(),
      disk.call('x', async () => 5),
      missing(),
    ]);
    deepEqual(
      outcomes.map((o) => (o.status === 'fulfilled' ? o.value : o.reason.code)),
      ['DISK_NOT_FOUND', 'DISK_NOT_FOUND', 'DISK_NOT_FOUND', 5, 'DISK_NOT_FOUND'],
    );
    equal(disk.setAside, undefined);
    equal(clock.timers, 0);
  });
});
