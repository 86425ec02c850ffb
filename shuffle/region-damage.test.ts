import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { MillraceError } from '../base/index.js';
import type { RegionPart } from './region-file.js';
import type { RegionEvent } from './region-store.js';
import { openStore, partOf } from './region-store.test.support.js';

const root = mkdtempSync(join(tmpdir(), 'millrace-region-damage-'));
after(() => rmSync(root, { recursive: true }));

/** One with compressed buffers, one without. */
const parts: readonly RegionPart[] = [partOf('ab', 0, 3, 5, 10), partOf('ab', 1, 0, 2, 10), partOf('c', 0, 7, 8, 10)];
const name = 'region-000000000001';
const folder = join(root, 'disk');
let whole: Buffer;

before(async () => {
  const { store } = await openStore([folder]);
  await store.write('writer', parts, { durable: false });
  await store.close();
  whole = readFileSync(join(folder, name));
});

const told = (events: readonly RegionEvent[]) =>
  events.map((e) => (e.kind === 'lost' ? `lost ${e.partition}` : e.kind));

async function openWith(bytes: Uint8Array) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, name), bytes);
  return await openStore([folder]);
}

describe('a damaged region', () => {
  it('torn at any length it is cut, and said', async () => {
    for (let length = 0; length < whole.length; length++) {
      const { store, events } = await openWith(whole.subarray(0, length));
      deepEqual(
        events.map((e) => (e.kind === 'cut' ? e.file : e)),
        [join(folder, name)],
        `length ${length}`,
      );
      deepEqual(readdirSync(folder), [], `length ${length}`);
      deepEqual(store.recovered, []);
      equal(store.ranges('ab').size, 0);
      await store.close();
    }
    const { store, events } = await openWith(whole);
    deepEqual(events, []);
    deepEqual(store.recovered, [{ writer: 'writer', spec: undefined, sameBoot: true }]);
    await store.close();
  });

  it('with any byte flipped it is found, and what it hit is named', async () => {
    const owners = parts.flatMap((part) =>
      part.buffers.flatMap((b) =>
        b.bytes.length === 0
          ? []
          : Array.from(b.bytes, () => ({ partition: part.partition, subpartition: part.subpartition, seq: b.seq })),
      ),
    );
    const dataAt = whole.indexOf(parts[0]?.buffers[0]?.bytes as Uint8Array);
    ok(dataAt > 0);
    for (let at = 0; at < whole.length; at++) {
      const flipped = Buffer.from(whole);
      flipped[at] = (flipped[at] as number) ^ (1 << (at % 8));
      const { store, events } = await openWith(flipped);
      const owner = owners[at - dataAt];
      if (owner === undefined) {
        deepEqual(
          events.map((e) => (e.kind === 'cut' ? e.file : e)),
          [join(folder, name)],
          `byte ${at}`,
        );
      } else {
        deepEqual(told(events), [], `byte ${at}`);
        const { partition, subpartition, seq } = owner;
        await rejects(store.read(partition, subpartition, seq, 1e9), (e: MillraceError) => {
          equal(e.code, 'BUFFER_CORRUPT');
          equal(e.kind, 'corrupt');
          deepEqual(e.context, owner);
          return true;
        });
        const first = store.ranges(partition).get(subpartition)?.first as number;
        if (first < seq) equal((await store.read(partition, subpartition, first, 1e9)).length, seq - first);
        deepEqual(told(events), [`lost ${partition}`]);
      }
      await store.close();
    }
  });

  it('a file cut or removed under an open store is found by who reads it', async () => {
    const { store, events } = await openWith(whole);
    writeFileSync(join(folder, name), whole.subarray(0, 60));
    await rejects(store.read('ab', 0, 4, 1e9), {
      code: 'BUFFER_CORRUPT',
      context: { partition: 'ab', subpartition: 0, seq: 4 },
    });
    rmSync(join(folder, name));
    await rejects(store.read('c', 0, 7, 1e9), {
      code: 'PARTITION_LOST',
      context: { partition: 'c', subpartition: 0, seq: 7 },
    });
    deepEqual(
      events.map(({ kind }) => kind),
      ['lost', 'lost'],
    );
    equal(store.metrics.disksSetAside, 0);
    await store.close();
  });

  it('bytes that were damaged in memory are not served as good', async () => {
    const { store } = await openStore([join(root, 'other')]);
    const part = partOf('p', 0, 0, 3);
    const [first, second, third] = part.buffers;
    const bad = { ...second, checksum: 77n };
    await store.write('w', [{ ...part, buffers: [first, bad, third] } as RegionPart], { durable: false });
    equal((await store.read('p', 0, 0, 1e9)).length, 1);
    await rejects(store.read('p', 0, 1, 1e9), { code: 'BUFFER_CORRUPT', message: /damaged before it was written/ });
    equal((await store.read('p', 0, 2, 1e9)).length, 1);
    await store.close();
  });

  it('a damaged finish record is cut: the writer counts as unfinished', async () => {
    const at = join(root, 'finished');
    const first = await openStore([at]);
    await first.store.finish('w', Buffer.from('some spec'));
    await first.store.close();
    const [record = ''] = readdirSync(at);
    const bytes = readFileSync(join(at, record));
    for (let i = 0; i < bytes.length; i++) {
      const flipped = Buffer.from(bytes);
      flipped[i] = (flipped[i] as number) ^ 4;
      writeFileSync(join(at, record), flipped);
      const { store, events } = await openStore([at]);
      deepEqual(
        events.map((e) => (e.kind === 'cut' ? e.file : e)),
        [join(at, record)],
      );
      deepEqual(store.recovered, []);
      deepEqual(readdirSync(at), []);
      await store.close();
    }
  });
});
