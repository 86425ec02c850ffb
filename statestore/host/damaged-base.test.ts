import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  bootId,
  nodeByteFiles,
  nodeDisk,
  seededRandom,
  silentLogger,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import { SegmentBuilder } from '../../checkpoint/index.js';
import { FOUND } from '../view/cold-state.js';
import { StateView } from '../view/state-view.js';
import { lmdbBaseStores } from './lmdb-base-store.js';
import { StateFolder } from './state-folder.js';

const range = { first: 0, last: 3 };
const line = { checkpointId: 1, epoch: 1 };
const bases = lmdbBaseStores({ mapBytes: 2 ** 32 });
const files = nodeByteFiles();
const none = new Uint8Array(0);
const KEYS = 5000;
const keyOf = (n: number) => Buffer.from(`key ${String(n).padStart(6, '0')}`);
const valueOf = (n: number) => `unmistakable ${String(n).padStart(6, '0')}`;

function open(root: string, latest: typeof line | undefined): Promise<StateFolder> {
  const parts = {
    disk: nodeDisk(),
    files,
    bases,
    clock: systemClock(),
    random: systemRandom(),
    logger: silentLogger(),
  };
  const history = { latest, kept: latest === undefined ? [] : [latest] };
  return StateFolder.open({ ...parts, root, bootId: bootId(), history, settings: { foldShare: 1 } });
}

/** All keys in the base of a folder that was closed. */
async function folded(root: string): Promise<void> {
  const folder = await open(root, undefined);
  await folder.startEmpty(range);
  const states = [{ name: 'state', meta: Uint8Array.of(1), value: undefined }];
  const builder = new SegmentBuilder({ checkpointId: 1, full: true, range, states });
  for (let n = 0; n < KEYS; n++) builder.add(0, 0, keyOf(n), none, Buffer.from(valueOf(n)), false);
  const checksum = await folder.hold(builder.finish().bytes);
  await folder.completed(line, [{ ...range, checksum }]);
  await folder.fold();
  await folder.close();
}

function inFolder(run: (root: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-damage-'));
    try {
      await run(join(folder, 'state'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
}

test(
  'a bit that flips in a value or a key of a base is an error for whoever reads it, and never another value',
  inFolder(async (root) => {
    await folded(root);
    const random = seededRandom(7);
    const bytes = readFileSync(join(root, 'base'));
    const damaged = new Set<number>();
    for (let n = 0; n < KEYS; n += 97) {
      // Also in pages that are not in use any more.
      for (let at = bytes.indexOf(valueOf(n)); at >= 0; at = bytes.indexOf(valueOf(n), at + 1)) {
        const where = at + random.below(valueOf(n).length);
        bytes[where] = (bytes[where] as number) ^ (1 << random.below(8));
      }
      damaged.add(n);
    }
    writeFileSync(join(root, 'base'), bytes);
    const folder = await open(root, line);
    deepEqual(folder.missing(range), []);
    const view = await StateView.open(folder.describe(), { bases, files, range });
    const table = view.table('state');
    for (let n = 0; n < KEYS; n++) {
      const find = () => table.find(0, keyOf(n), none);
      if (damaged.has(n)) throws(find, { code: 'BASE_DAMAGED', kind: 'corrupt' }, `key ${n}`);
      else {
        equal(find(), FOUND);
        equal(Buffer.from(table.bytes.slice(table.start, table.end)).toString(), valueOf(n));
      }
    }
    ok(damaged.size > 50);
    await view.close();
    await folder.close();
  }),
);

test(
  'a base whose file was cut short is thrown away when its folder is opened, and kills nobody',
  inFolder(async (root) => {
    await folded(root);
    const { length } = readFileSync(join(root, 'base'));
    truncateSync(join(root, 'base'), length >> 1);
    const folder = await open(root, line);
    deepEqual(folder.missing(range), [range]);
    await folder.close();
  }),
);

test(
  'a folder that is not to be trusted is begun anew',
  inFolder(async (root) => {
    await folded(root);
    const trusted = await open(root, line);
    deepEqual(trusted.missing(range), []);
    await trusted.close();
    const parts = { disk: nodeDisk(), files, bases, clock: systemClock(), random: systemRandom() };
    const history = { latest: line, kept: [line] };
    const options = { ...parts, logger: silentLogger(), root, bootId: bootId(), history };
    const folder = await StateFolder.open({ ...options, anew: true });
    deepEqual(folder.missing(range), [range]);
    await folder.close();
  }),
);
