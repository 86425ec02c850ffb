import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Batch, compileSchema, encodeColumns, type RowOf } from '../../base/columnar/index.js';
import { MillraceError, silentLogger, systemClock } from '../../base/index.js';
import { jsonLines } from './json-lines.js';
import { JsonLinesFormat } from './json-lines-format.js';
import { readJsonLines } from './json-lines-transaction.js';
import { MemoryDisk } from './memory-disk.test.support.js';
import type { SinkWriter } from './spi.js';

const schema = { n: 'int32', text: 'utf8?' } as const;

function batchOf(numbers: readonly number[]): Batch {
  const columns = { n: numbers, text: numbers.map((n) => `row ${n}`) };
  const compiled = compileSchema(schema);
  return Batch.decode(compiled, encodeColumns(compiled, columns, 0, numbers.length)) as unknown as Batch;
}

const lineOf = (n: number) => `{"n":${n},"text":"row ${n}"}`;

function open(disk: MemoryDisk, attempt: string, recovered: readonly string[] = [], subtask = 0): Promise<SinkWriter> {
  const environment = { disk, clock: systemClock(), logger: silentLogger() };
  return jsonLines('/out').open({ ...environment, subtask, attempt, schema, recovered });
}

const hasCode = (code: string) => (e: unknown) => e instanceof MillraceError && e.code === code;

test('rows appear when their transaction is committed, under the name of subtask and checkpoint', async () => {
  const disk = new MemoryDisk();
  const writer = await open(disk, 'a', [], 3);
  writer.write(batchOf([1, 2]));
  const transaction = await writer.preCommit(7);
  writer.write(batchOf([3]));
  assert.deepEqual(await readJsonLines(disk, '/out'), []);
  await writer.commit(transaction as string);
  assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(1), lineOf(2)]);
  await writer.commit(transaction as string);
  assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(1), lineOf(2)]);
  await writer.close();
  assert.deepEqual(
    disk.paths.filter((p) => !p.includes('.pending')),
    ['/out/part-3-7.jsonl'],
  );
});

test('a transaction without rows is none', async () => {
  const writer = await open(new MemoryDisk(), 'a');
  writer.write(batchOf([]));
  assert.equal(await writer.preCommit(1), undefined);
});

test('rows written after preCommit was called, and before it is done, belong to the next transaction', async () => {
  const disk = new MemoryDisk();
  const writer = await open(disk, 'a');
  writer.write(batchOf([1]));
  const first = writer.preCommit(1);
  writer.write(batchOf([2]));
  const second = writer.preCommit(2);
  await writer.commit((await first) as string);
  assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(1)]);
  await writer.commit((await second) as string);
  assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(1), lineOf(2)]);
});

/**
 * Two checkpoints of a job whose process dies at a step; a later attempt starts from what the first one reported as
 * complete, and writes the rest again. Committed = exactly the rows, once, whatever the step.
 */
async function runUntilDeath(disk: MemoryDisk, complete: (id: number, transaction: string) => void): Promise<boolean> {
  try {
    const writer = await open(disk, 'first');
    for (const id of [1, 2]) {
      writer.write(batchOf([id * 10, id * 10 + 1]));
      const transaction = (await writer.preCommit(id)) as string;
      complete(id, transaction);
      await writer.commit(transaction);
    }
    return true;
  } catch {
    return false;
  }
}

for (const powerCut of [false, true]) {
  test(`a death at every step${powerCut ? ' with a power cut' : ''} leaves exactly the committed rows, once`, async () => {
    let survived = false;
    let deaths = 0;
    for (let stopAt = 1; !survived; stopAt++) {
      const disk = new MemoryDisk();
      disk.stopAt = stopAt;
      let done = 0;
      let recovered: string[] = [];
      survived = await runUntilDeath(disk, (id, transaction) => {
        done = id;
        recovered = [transaction];
      });
      if (!survived) deaths++;
      disk.restart({ powerCut });
      const committedBefore = await readJsonLines(disk, '/out');
      const second = await open(disk, 'second', recovered);
      const recommitted = await readJsonLines(disk, '/out');
      assert.deepEqual(recommitted.slice(0, committedBefore.length), committedBefore, `stopped at ${stopAt}`);
      assert.equal(recommitted.length, done * 2, `stopped at ${stopAt}: what is complete is visible once opened`);
      for (let id = done + 1; id <= 2; id++) {
        second.write(batchOf([id * 10, id * 10 + 1]));
        await second.commit((await second.preCommit(id)) as string);
      }
      await second.close();
      assert.deepEqual(await readJsonLines(disk, '/out'), [10, 11, 20, 21].map(lineOf), `stopped at ${stopAt}`);
      assert.deepEqual(
        disk.paths,
        ['/out/part-0-1.jsonl', '/out/part-0-2.jsonl'],
        `stopped at ${stopAt}: no leftovers`,
      );
    }
    assert.ok(deaths > 10, `only ${deaths} steps to die at`);
  });

  test(`a death at every step of recovery${powerCut ? ' with a power cut' : ''} is recovered from again`, async () => {
    let survived = false;
    for (let stopAt = 1; !survived; stopAt++) {
      const disk = new MemoryDisk();
      const first = await open(disk, 'first');
      first.write(batchOf([1]));
      const recovered = [(await first.preCommit(1)) as string];
      first.write(batchOf([2]));
      await first.close();
      disk.restart({ powerCut });
      disk.stopAt = stopAt;
      survived = await open(disk, 'second', recovered).then(
        () => true,
        () => false,
      );
      disk.restart({ powerCut });
      await open(disk, 'third', recovered);
      assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(1)], `stopped at ${stopAt}`);
      assert.deepEqual(disk.paths, ['/out/part-0-1.jsonl'], `stopped at ${stopAt}`);
    }
  });
}

test('a transaction that no checkpoint holds is discarded, and only this subtask discards it', async () => {
  const disk = new MemoryDisk();
  for (const subtask of [1, 11]) {
    const writer = await open(disk, 'first', [], subtask);
    writer.write(batchOf([subtask]));
    await writer.preCommit(1);
    await writer.close();
  }
  await open(disk, 'second', [], 1);
  assert.deepEqual(disk.paths, ['/out/.pending/11-first-0.jsonl']);
});

test('a zombie that goes on writing cannot change or add committed rows', async () => {
  const disk = new MemoryDisk();
  const zombie = await open(disk, 'zombie');
  zombie.write(batchOf([1]));
  const transaction = (await zombie.preCommit(1)) as string;
  zombie.write(batchOf([2]));
  await zombie.pending;
  const successor = await open(disk, 'successor', [transaction]);
  zombie.write(batchOf([3]));
  const stale = (await zombie.preCommit(2)) as string;
  successor.write(batchOf([4]));
  await successor.commit((await successor.preCommit(2)) as string);
  await assert.rejects(
    zombie.commit(stale),
    (e) => hasCode('TRANSACTION_LOST')(e) || hasCode('TRANSACTION_CONFLICT')(e),
  );
  // This one it began after its successor had tidied up, so its file is there; the name is taken.
  zombie.write(batchOf([5]));
  const late = (await zombie.preCommit(2)) as string;
  await assert.rejects(zombie.commit(late), hasCode('TRANSACTION_CONFLICT'));
  await zombie.commit(transaction);
  assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(1), lineOf(4)]);
});

test('a transaction of which neither name exists is lost, and the error names it', async () => {
  const disk = new MemoryDisk();
  const writer = await open(disk, 'a');
  writer.write(batchOf([1]));
  const transaction = (await writer.preCommit(1)) as string;
  await disk.remove('/out/.pending/0-a-0.jsonl');
  await assert.rejects(writer.commit(transaction), (e) => {
    return (
      e instanceof MillraceError &&
      e.code === 'TRANSACTION_LOST' &&
      e.kind === 'corrupt' &&
      /0-a-0\.jsonl/.test(e.message)
    );
  });
});

test('files of another run are not replaced', async () => {
  const disk = new MemoryDisk();
  disk.put('/out/part-0-1.jsonl', '{"n":9,"text":"row 9"}\n');
  const writer = await open(disk, 'a');
  writer.write(batchOf([1]));
  const transaction = (await writer.preCommit(1)) as string;
  await assert.rejects(writer.commit(transaction), hasCode('TRANSACTION_CONFLICT'));
  assert.deepEqual(await readJsonLines(disk, '/out'), [lineOf(9)]);
});

test('a full disk is an error that names the path, at the next call and at every later one', async () => {
  const disk = new MemoryDisk();
  const writer = await open(disk, 'a');
  disk.stopCode = 'DISK_FULL';
  disk.stopAt = disk.operations + 2;
  writer.write(batchOf([1]));
  const full = (e: unknown) => hasCode('DISK_FULL')(e) && /\.pending\/0-a-0\.jsonl/.test((e as Error).message);
  await assert.rejects(writer.preCommit(1), full);
  assert.throws(() => writer.write(batchOf([2])), full);
  await assert.rejects(writer.preCommit(2), full);
  await writer.close();
});

test('more than 4 MiB queued sets pending until they are written', async () => {
  const disk = new MemoryDisk();
  const writer = await open(disk, 'a');
  const numbers = Array.from({ length: 5000 }, (_, i) => i);
  let batches = 0;
  while (writer.pending === undefined) {
    writer.write(batchOf(numbers));
    batches++;
  }
  const lineBytes = numbers.reduce((sum, n) => sum + lineOf(n).length + 1, 0);
  assert.ok(
    (batches - 1) * lineBytes <= 4 * 1024 * 1024 && batches * lineBytes > 4 * 1024 * 1024,
    `${batches} batches`,
  );
  await writer.pending;
  assert.equal(writer.pending, undefined);
  await writer.commit((await writer.preCommit(1)) as string);
  assert.equal((await readJsonLines(disk, '/out')).length, batches * 5000);
});

test('text that is not a transaction, or points elsewhere, is refused', async () => {
  const writer = await open(new MemoryDisk(), 'a');
  const outside = { pending: '0-a-0.jsonl', final: '../../etc/passwd', bytes: 1, checksum: '' };
  for (const text of ['', 'null', '{}', '[]', JSON.stringify(outside)]) {
    await assert.rejects(writer.commit(text), hasCode('TRANSACTION_INVALID'), text);
  }
});

test('half a line under a final name is reported, not read', async () => {
  const disk = new MemoryDisk();
  disk.put('/out/part-0-1.jsonl', '{"n":1');
  await assert.rejects(readJsonLines(disk, '/out'), hasCode('FILE_CORRUPT'));
});

test('lines are what JSON.stringify gives for the rows, with timestamps as ISO strings', () => {
  const wide = { b: 'bool?', i: 'int64?', f: 'float64?', t: 'timestamp?', s: 'utf8?' } as const;
  const compiled = compileSchema(wide);
  const row = fc.record({
    b: fc.option(fc.boolean()),
    i: fc.option(fc.maxSafeInteger()),
    f: fc.option(fc.double()),
    t: fc.option(fc.integer({ min: -8.64e15, max: 8.64e15 })),
    s: fc.option(fc.string({ unit: 'binary' })),
  });
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 20 }), (values) => {
      const column = <K extends keyof RowOf<typeof wide>>(name: K) => values.map((v) => v[name]);
      const columns = { b: column('b'), i: column('i'), f: column('f'), t: column('t'), s: column('s') };
      const batch = Batch.decode(compiled, encodeColumns(compiled, columns, 0, values.length)) as unknown as Batch;
      const expected = values.map((v) => JSON.stringify({ ...v, t: v.t === null ? null : new Date(v.t) }));
      assert.equal(new JsonLinesFormat(wide).lines(batch, 0, values.length), expected.map((l) => `${l}\n`).join(''));
    }),
  );
});
