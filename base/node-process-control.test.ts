import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { nodeProcessControl } from './node-process-control.js';
import { processIsAlive } from './process-identity.js';

const folder = mkdtempSync(join(tmpdir(), 'millrace-process-'));
after(() => rmSync(folder, { recursive: true }));

const moduleOf = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);

function script(name: string, body: string): string {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(
    file,
    `import { writeFileSync } from 'node:fs';
     import { onParentGone, readSettings } from ${moduleOf('./parent-process.js')};
     import { nodeProcessControl } from ${moduleOf('./node-process-control.js')};
     ${body}`,
  );
  return file;
}

const living = script(
  'living',
  `const settings = await readSettings();
   onParentGone(() => process.exit(0));
   writeFileSync(settings.file, JSON.stringify({ settings, argv: process.argv.slice(2), pid: process.pid,
     leaked: Object.values(process.env).some((value) => value.includes('s3cret')) }));
   setInterval(() => {}, 1000);`,
);

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    ok(performance.now() < deadline, `waited 10 s until ${what}`);
    await delay(10);
  }
}

function readJson(file: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  } catch {
    return {};
  }
}

describe('nodeProcessControl', () => {
  it('gives the child its settings, however large, and not where others can see them', async () => {
    const file = join(folder, 'seen.json');
    const control = nodeProcessControl({ entry: { daemon: 'nowhere.js', worker: living } });
    const settings = { file, token: 's3cret', large: 'é'.repeat(300_000) };
    const child = await control.spawn('worker', 'w1', settings);
    await until('the child wrote what it saw', () => readJson(file).pid !== undefined);
    child.signal('kill');
    deepEqual(await child.exited, { code: undefined, signal: 'SIGKILL' });
    deepEqual(readJson(file), { settings, argv: ['worker', 'w1'], pid: child.pid, leaked: false });
    child.signal('stop');
  });

  it('a child that dies before it has read its settings is SPAWN_FAILED, naming role, name and exit code', async () => {
    const control = nodeProcessControl({ entry: script('dying', 'process.exit(7);') });
    await rejects(control.spawn('daemon', 'd1', {}), {
      code: 'SPAWN_FAILED',
      kind: 'unavailable',
      message: 'daemon d1 did not start: exit code 7',
    });
  });

  it('a child that never reads its settings is killed', async () => {
    const file = join(folder, 'deaf.json');
    const deaf = script(
      'deaf',
      `writeFileSync(${JSON.stringify(file)}, JSON.stringify({ pid: process.pid })); setInterval(() => {}, 1000);`,
    );
    const control = nodeProcessControl({ entry: deaf, startTimeoutMs: 1000 });
    await rejects(control.spawn('worker', 'w1', {}), { code: 'SPAWN_FAILED', message: /said nothing for 1000 ms/ });
    await until('it is dead', () => !processIsAlive(readJson(file).pid as number));
  });

  it('pause and resume', async () => {
    const child = await nodeProcessControl({ entry: living }).spawn('worker', 'w1', { file: join(folder, 'paused') });
    const state = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.[0];
    if (process.platform === 'linux') {
      child.signal('pause');
      await until('it is stopped', () => state() === 'T');
      child.signal('resume');
      await until('it goes on', () => state() !== 'T');
    }
    child.signal('stop');
    equal((await child.exited).signal, 'SIGTERM');
  });

  it('a child dies when its parent is killed', async () => {
    const file = join(folder, 'grandchild.json');
    const parent = script(
      'parent',
      `await nodeProcessControl({ entry: ${JSON.stringify(living)} }).spawn('worker', 'w1', { file: ${JSON.stringify(file)} });`,
    );
    const running = spawn(process.execPath, [parent], { stdio: 'inherit' });
    await until('the grandchild runs', () => readJson(file).pid !== undefined);
    const grandchild = readJson(file).pid as number;
    ok(processIsAlive(grandchild));
    running.kill('SIGKILL');
    try {
      await until('the grandchild is gone', () => !processIsAlive(grandchild));
    } finally {
      if (processIsAlive(grandchild)) process.kill(grandchild, 'SIGKILL');
    }
  });
});
