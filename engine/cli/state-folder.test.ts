import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownIdentity } from '../../base/index.js';
import { StateFolder } from './state-folder.js';

function inFolder(name: string, run: (path: string) => void): void {
  test(name, () => {
    const path = mkdtempSync(join(tmpdir(), 'millrace-state-'));
    try {
      run(path);
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  });
}

/** The pid of a process that is certainly gone. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

inFolder('a new folder is made, says what it is, and is free again after release', (path) => {
  const state = join(path, 'deep', 'state');
  const folder = StateFolder.claim(state, 'job', 'abc');
  assert.deepEqual(readdirSync(state).sort(), ['artefacts', 'checkpoints', 'millrace.json', 'owner.json']);
  assert.deepEqual(JSON.parse(readFileSync(join(state, 'owner.json'), 'utf8')), ownIdentity());
  folder.release();
  StateFolder.claim(state, 'job', 'abc').release();
  assert.ok(!existsSync(join(state, 'owner.json')));
});

inFolder('a folder that a live process uses is refused by its pid, and stays that process’s', (path) => {
  const folder = StateFolder.claim(path, 'job', 'abc');
  const refused = {
    code: 'STATE_DIR_IN_USE',
    kind: 'invalid',
    message: new RegExp(`${path}.*process ${process.pid}.*--state-dir`),
  };
  assert.throws(() => StateFolder.claim(path, 'job', 'abc'), refused);
  assert.throws(() => StateFolder.claim(path, 'job', 'abc'), refused, 'a refused one does not take the lock away');
  folder.release();
});

inFolder(
  'a folder left by a dead process is taken over: by pid, by start time, by boot, and with a torn lock',
  (path) => {
    StateFolder.claim(path, 'job', 'abc').release();
    const own = ownIdentity();
    const left = [
      JSON.stringify({ ...own, pid: deadPid() }),
      JSON.stringify({ ...own, startTime: '1' }),
      JSON.stringify({ ...own, bootId: 'an earlier boot' }),
      '{"pid": 1',
      '',
    ];
    for (const owner of left) {
      writeFileSync(join(path, 'owner.json'), owner);
      const folder = StateFolder.claim(path, 'job', 'abc');
      assert.equal(JSON.parse(readFileSync(join(path, 'owner.json'), 'utf8')).startTime, own.startTime);
      folder.release();
    }
  },
);

inFolder('a folder of another version is refused, and left as it was', (path) => {
  for (const info of ['{"format":2,"job":"job","fingerprint":"abc"}\n', '{"format":1,"jo', '[]']) {
    writeFileSync(join(path, 'millrace.json'), info);
    const refused = { code: 'STATE_DIR_VERSION', kind: 'invalid', message: new RegExp(`${path}.*another version`) };
    assert.throws(() => StateFolder.claim(path, 'job', 'abc'), refused);
    assert.deepEqual(readdirSync(path), ['millrace.json']);
    assert.equal(readFileSync(join(path, 'millrace.json'), 'utf8'), info);
  }
});

inFolder('a folder of another job, or of other code, is refused and says which of the two', (path) => {
  StateFolder.claim(path, 'job', 'abc').release();
  const other = { code: 'STATE_DIR_OTHER_JOB', kind: 'invalid', message: /job 'job'.*--state-dir/ };
  assert.throws(() => StateFolder.claim(path, 'another', 'abc'), other);
  const changed = {
    code: 'STATE_DIR_OTHER_JOB',
    kind: 'invalid',
    message: /another version or other parameters of this job/,
  };
  assert.throws(() => StateFolder.claim(path, 'job', 'abd'), changed);
  assert.ok(!existsSync(join(path, 'owner.json')), 'a refused run leaves no lock');
  StateFolder.claim(path, 'job', 'abc').release();
});

inFolder('a folder that is somebody else’s is refused, and nothing is put into it', (path) => {
  mkdirSync(join(path, 'checkpoints'));
  assert.throws(() => StateFolder.claim(path, 'job', 'abc'), { code: 'STATE_DIR_FOREIGN', kind: 'invalid' });
  assert.deepEqual(readdirSync(path), ['checkpoints']);
});

inFolder('a place that cannot be a folder is named with the reason', (path) => {
  writeFileSync(join(path, 'file'), '');
  const refused = { code: 'STATE_DIR_UNUSABLE', kind: 'unavailable', message: /file\/state/ };
  assert.throws(() => StateFolder.claim(join(path, 'file', 'state'), 'job', 'abc'), refused);
});
