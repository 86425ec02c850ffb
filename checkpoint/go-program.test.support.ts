import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isDead, ownIdentity, type ProcessIdentity, systemRandom } from '../base/index.js';

/** A program of the Go world at one version, built where it can be. */
export interface GoProgram {
  /** `github.com/versity/versitygw/cmd/versitygw` */
  readonly path: string;
  /** `v1.8.0` */
  readonly version: string;
}

/** The file to run, or why there is none. */
export type BuiltProgram = { readonly file: string } | { readonly why: string };

const buildMsMax = 240_000;
/** A failed build is not tried again so soon: other test files of the same run would each wait for it. */
const failureMsMax = 600_000;

/**
 * Builds a Go program once, into a folder that outlives the run and is shared by all test processes: the first builds, the
 * others wait. Never throws: where there is no Go, or no way to its modules, it says so.
 */
export async function goProgram(program: GoProgram, cacheFolder: string): Promise<BuiltProgram> {
  const name = program.path.split('/').at(-1) as string;
  const folder = join(cacheFolder, `${name}-${program.version}-${process.platform}-${process.arch}`);
  const file = join(folder, name);
  const failure = `${folder}.failed`;
  const lock = `${folder}.lock`;
  try {
    mkdirSync(cacheFolder, { recursive: true });
    while (!existsSync(file)) {
      const why = recentFailure(failure);
      if (why !== undefined) return { why };
      if (!takeLock(lock)) {
        await wait(200);
        continue;
      }
      try {
        if (existsSync(file)) continue;
        removeUnfinished(folder);
        const failed = await build(program, folder, name);
        if (failed !== undefined) writeFileSync(failure, failed);
      } finally {
        rmSync(lock, { force: true });
      }
    }
    return { file };
  } catch (thrown) {
    return { why: String(thrown) };
  }
}

/** What a build that was killed left. */
function removeUnfinished(folder: string): void {
  for (const entry of readdirSync(dirname(folder), { withFileTypes: true })) {
    const path = join(dirname(folder), entry.name);
    if (entry.isDirectory() && path.startsWith(`${folder}.`)) rmSync(path, { recursive: true, force: true });
  }
}

function recentFailure(path: string): string | undefined {
  const at = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  return at === undefined || Date.now() - at > failureMsMax ? undefined : readFileSync(path, 'utf8');
}

/**
 * Runs a command in a group of its own, so that its compilers end with it, and ends the group when our side of the pipe
 * closes: also when this process is killed.
 */
const keeper = 'exec 3<&0; "$@" & pid=$!; { cat <&3 >/dev/null; kill -9 -$$; } & wait $pid';

/** Undefined when it went well, otherwise why not. */
async function build(program: GoProgram, folder: string, name: string): Promise<string | undefined> {
  const made = `${folder}.${systemRandom().nonce()}`;
  mkdirSync(made);
  try {
    const what = `${program.path}@${program.version}`;
    const env = { ...process.env, GOBIN: made, CGO_ENABLED: '0' };
    const child = spawn('sh', ['-c', keeper, 'sh', 'nice', '-n', '19', 'go', 'install', '-ldflags=-s -w', what], {
      env,
      detached: true,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    const ended = await outcome(child);
    if (ended !== undefined) return `${what}: ${ended}`;
    if (!existsSync(join(made, name))) return `${what}: go install made no ${name}`;
    renameSync(made, folder);
    return undefined;
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

async function outcome(child: ChildProcess): Promise<string | undefined> {
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000);
  });
  const killGroup = () => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {
      // It has ended.
    }
  };
  let late = false;
  const deadline = setTimeout(() => {
    late = true;
    killGroup();
  }, buildMsMax);
  let code: number | null = null;
  try {
    return await new Promise((resolve) => {
      child.on('error', (e) => resolve(e.message));
      child.on('exit', (exitCode) => {
        code = exitCode;
        // The one that waits for our pipe is still there.
        killGroup();
      });
      child.on('close', () => {
        const last = said.trim().split('\n').at(-1) ?? '';
        if (late) resolve(`not built within ${buildMsMax / 1000} s`);
        else if (code === 127) resolve('there is no go on the PATH');
        else resolve(code === 0 ? undefined : `go install failed: ${last}`);
      });
    });
  } finally {
    clearTimeout(deadline);
  }
}

/** Exclusive, by a hard link of a whole file; the lock of a dead process is removed. */
function takeLock(lock: string): boolean {
  const unnamed = `${lock}.${systemRandom().nonce()}`;
  writeFileSync(unnamed, JSON.stringify(ownIdentity()));
  try {
    linkSync(unnamed, lock);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    const owner = readOwner(lock);
    // Should two remove it at a time, both may build: the first to finish wins, as a build appears under its name whole.
    if (owner !== undefined && isDead(owner)) rmSync(lock, { force: true });
    return false;
  } finally {
    rmSync(unnamed, { force: true });
  }
}

function readOwner(lock: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
