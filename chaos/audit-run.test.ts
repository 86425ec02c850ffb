import { deepEqual, equal, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { silentLogger } from '../base/index.js';
import { CheckpointStore, DirectoryBlobStore, SegmentBuilder, SegmentHome } from '../checkpoint/index.js';
import { planJob } from '../engine/graph/index.js';
import { job, jsonLines, rows } from '../engine/index.js';
import { storedInFolder } from './audit-checkpoints.js';
import { auditRun } from './audit-run.js';
import { runMain } from './driving.js';
import type { SimContext } from './sim-process.js';
import { SimWorld } from './sim-world.js';

const ROOT = '/state/checkpoints';
const LINE = '{"n":1}\n';

/** One task, from a source to a sink. */
const graph = planJob(
  job('one', (j) => void j.from(rows({ n: 'int32' }, [{ n: 1 }])).to(jsonLines('/out'))).build({}),
  1,
);

function segment(checkpointId: number, value: string): Uint8Array {
  const states = [{ name: 's', meta: new Uint8Array(0), value: undefined }];
  const builder = new SegmentBuilder({
    checkpointId,
    full: checkpointId === 1,
    range: { first: 0, last: 127 },
    states,
  });
  builder.add(0, 0, Buffer.from('k'), new Uint8Array(0), Buffer.from(value), false);
  return builder.finish().bytes;
}

/** What a short run leaves: two checkpoints with state, a final one, a committed file. */
async function leave({ disk, random }: SimContext): Promise<void> {
  const blobs = await DirectoryBlobStore.open({ disk, root: ROOT, random });
  const store = await CheckpointStore.open({ store: blobs, random, logger: silentLogger() });
  const epoch = await store.takeOver();
  const home = new SegmentHome({ store: blobs, random, host: 'h', inlineBytesMax: 0 });
  const transaction = {
    pending: '0-run-1-0.jsonl',
    final: 'part-0-3.jsonl',
    bytes: LINE.length,
    checksum: createHash('sha256').update(LINE).digest('hex'),
  };
  for (const checkpointId of [1, 2, 3]) {
    const final = checkpointId === 3;
    home.hold('v0.0', 1, checkpointId, segment(checkpointId, `value ${checkpointId}`));
    const refs = await home.persist(checkpointId, epoch, final ? [] : [{ task: 'v0.0', attempt: 1 }]);
    const before = store.latest?.tasks[0]?.segments ?? [];
    const transactions = final ? [{ checkpoint: 3, transaction: JSON.stringify(transaction) }] : [];
    const position = JSON.stringify({ inputs: [], outputs: [], transactions });
    const segments = final ? [] : [...before, ...refs.values()];
    const task = { task: 'v0.0', finished: final, segments, position };
    await store.publish({ format: 2, checkpointId, epoch, meta: '{}', final, tasks: [task] });
  }
  await store.collect();
  await disk.makeFolder('/out/.pending');
  await disk.write('/out/.pending/0-run-1-0.jsonl', Buffer.from(LINE));
  await disk.link('/out/.pending/0-run-1-0.jsonl', '/out/part-0-3.jsonl');
  await disk.remove('/out/.pending/0-run-1-0.jsonl');
}

async function left() {
  const world = new SimWorld({ seed: 1 });
  await runMain(world, 'h1', leave);
  const { files } = world.host('h1').disk;
  const outputs = [{ folder: '/out', expected: [LINE.trimEnd()] }];
  const audit = {
    files,
    checkpoints: storedInFolder(files, ROOT),
    graph,
    epoch: 1,
    outputs,
    elsewhere: ['/state/host'],
    undisturbed: true,
  };
  const codes = async (more: Partial<typeof audit> = {}) =>
    [...new Set((await auditRun({ ...audit, ...more })).map(({ code }) => code))].sort();
  const paths = (part: string) =>
    files
      .paths('/')
      .filter((path) => path.includes(part))
      .sort();
  const put = (path: string, bytes: Uint8Array) => {
    files.makeFolder(path.slice(0, path.lastIndexOf('/')));
    const { file } = files.create(path, true);
    file.append(bytes);
    file.synced = file.length;
    files.syncFolder(path.slice(0, path.lastIndexOf('/')));
  };
  const bytesOf = (path: string) => files.file(path).read(0, files.file(path).length);
  const replace = (path: string, bytes: Uint8Array) => {
    files.remove(path);
    put(path, bytes);
  };
  return { files, codes, paths, put, bytesOf, replace };
}

describe('what a run left, audited', () => {
  it('is all right when it is', async () => {
    const { codes, paths } = await left();
    ok(paths('/segments/').length > 0, 'there is nothing to audit');
    deepEqual(await codes(), []);
  });

  it('lacks an object that HEAD refers to', async () => {
    const { files, codes, paths } = await left();
    files.remove(paths('/segments/')[0] as string);
    deepEqual(await codes(), ['OBJECT_MISSING', 'SEGMENT_WRONG']);
  });

  it('has a bit of a segment or of HEAD that flipped', async () => {
    for (const [part, code] of [
      ['/segments/', 'SEGMENT_WRONG'],
      ['/HEAD/', 'HEAD_WRONG'],
    ] as const) {
      const { codes, paths, bytesOf, replace } = await left();
      const path = paths(part).at(-1) as string;
      const bytes = bytesOf(path);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 4;
      replace(path, bytes);
      ok((await codes()).includes(code), part);
    }
  });

  it('has a HEAD that went back, of another epoch, or that a power cut takes back', async () => {
    const back = await left();
    const heads = back.paths('/HEAD/');
    const older = back.bytesOf(heads[0] as string);
    back.put(`${ROOT}/values/HEAD/0000000099`, older);
    ok((await back.codes()).includes('HEAD_WRONG'));
    deepEqual(await (await left()).codes({ epoch: 2 }), ['HEAD_WRONG']);
    const loose = await left();
    const path = loose.paths('/HEAD/').at(-1) as string;
    loose.files.file(path).synced = 0;
    deepEqual(await loose.codes(), ['NOT_DURABLE']);
  });

  it('has an object that nothing refers to', async () => {
    const { codes, put } = await left();
    put(`${ROOT}/objects/segments/1-1-h-0123456789abcdef`, Buffer.from('x'));
    deepEqual(await codes(), ['OBJECTS_LEAKED']);
  });

  it('has a manifest of another job', async () => {
    const wider = { ...graph, vertices: graph.vertices.map((vertex) => ({ ...vertex, parallelism: 2 })) };
    deepEqual(await (await left()).codes({ graph: wider }), ['MANIFEST_WRONG']);
  });

  it('has a transaction that is not finished, or was with other bytes', async () => {
    const open = await left();
    open.files.remove('/out/part-0-3.jsonl');
    deepEqual(await open.codes(), ['TRANSACTION_OPEN']);
    const other = await left();
    other.replace('/out/part-0-3.jsonl', Buffer.from('{"n":2}\n'));
    deepEqual(await other.codes(), ['TRANSACTION_OPEN']);
    const twice = await left();
    twice.put('/out/.pending/0-run-1-0.jsonl', Buffer.from(LINE));
    deepEqual(await twice.codes({ undisturbed: false }), ['TRANSACTION_OPEN']);
  });

  it('has output of a checkpoint that never was, of no subtask, or that a power cut takes', async () => {
    for (const name of ['part-0-4.jsonl', 'part-1-1.jsonl']) {
      const { codes, put } = await left();
      put(`/out/${name}`, Buffer.from(LINE));
      deepEqual(await codes(), ['OUTPUT_WRONG'], name);
    }
    const { files, codes } = await left();
    files.file('/out/part-0-3.jsonl').synced = 0;
    deepEqual(await codes(), ['NOT_DURABLE']);
  });

  it('has files of logs, or half done ones that nobody had a reason to leave', async () => {
    for (const path of ['/run/spill/region-1', `${ROOT}/temp/abc`, '/out/.pending/0-run-1-7.jsonl', '/out/note.txt']) {
      const { codes, put } = await left();
      put(path, Buffer.from('x'));
      deepEqual(await codes(), ['FILES_LEAKED'], path);
      const isTemporary = path.includes('temp') || path.includes('.pending');
      equal((await codes({ undisturbed: false })).length, isTemporary ? 0 : 1, path);
    }
    const { codes, put } = await left();
    put('/state/host/v1/list', Buffer.from('x'));
    deepEqual(await codes(), []);
  });
});
