import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const MARK = 'MILLRACE_TEST_PLACE';
const SCRIPTS = { millrace: 'main.js', start: 'start.js' } as const;

/** The project's folder. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** The job of `npm start`. */
export const FLIGHTS_JOB = join(ROOT, 'engine', 'examples', 'flights.ts');

/** Waits in real time: these tests are about real processes. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Polls until `condition` holds. @throws when it does not within `timeoutMs`, with what `describe` says then. */
export async function until(condition: () => boolean, timeoutMs: number, describe: () => string): Promise<void> {
  for (const endMs = performance.now() + timeoutMs; !condition(); await pause(20)) {
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${describe()}`);
  }
}

export interface RealProcess {
  readonly pid: number;
  readonly command: string;
}

/**
 * Where the processes of one test run, away from all others: a temporary folder, a memory-backed one, and a mark in
 * their environment by which every descendant is found, however it was started.
 */
export class TestPlace {
  readonly folder: string;
  /** The TMPDIR of everything that is started here. */
  readonly tmp: string;
  readonly shm: string;
  readonly #mark: string;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'mrt-'));
    this.tmp = join(this.folder, 't');
    mkdirSync(this.tmp);
    this.shm = mkdtempSync(join('/dev/shm', 'mrt-'));
    this.#mark = `${MARK}=${this.folder}`;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A module of a user's beside his job: how an option names it. */
  write(name: string, code: string): string {
    writeFileSync(this.path(name), code);
    return `./${name}`;
  }

  start(script: keyof typeof SCRIPTS, args: readonly string[], options: { readonly cwd?: string } = {}): SpawnedRun {
    return this.node([fileURLToPath(new URL(SCRIPTS[script], import.meta.url)), ...args], options);
  }

  /** Node with these arguments, as everything here: found and ended by `remove`. */
  node(args: readonly string[], options: { readonly cwd?: string } = {}): SpawnedRun {
    const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR: this.tmp, [MARK]: this.folder };
    delete env.NODE_TEST_CONTEXT;
    const child = spawn(process.execPath, args, {
      cwd: options.cwd ?? this.folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new SpawnedRun(child);
  }

  /** `millrace run` with its memory in this place. */
  run(job: string, ...args: readonly string[]): SpawnedRun {
    return this.start('millrace', ['run', job, '--shm-dir', this.shm, '--json', ...args]);
  }

  /** All processes of this place that run now. */
  processes(): RealProcess[] {
    return readdirSync('/proc').flatMap((name) => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
      if (!readProc(`${name}/environ`).split('\0').includes(this.#mark)) return [];
      return [{ pid: Number(name), command: readProc(`${name}/cmdline`).replaceAll('\0', ' ') }];
    });
  }

  workers(): RealProcess[] {
    return this.processes().filter(({ command }) => command.includes('worker-main.js'));
  }

  /** Every file and folder that runs have left, but for the empty `millrace-<uid>` that holds run folders. */
  leftovers(): string[] {
    return [this.tmp, this.shm].flatMap((top) =>
      readdirSync(top, { recursive: true, withFileTypes: true })
        .map((entry) => relative(top, join(entry.parentPath, entry.name)))
        .filter((path) => !/^millrace-\d+$/.test(path)),
    );
  }

  /** Ends whatever still runs here, and removes both folders. */
  remove(): void {
    for (const { pid } of this.processes()) killIfThere(pid);
    for (const folder of [this.folder, this.shm]) rmSync(folder, { recursive: true, force: true });
  }
}

/** A process that was started, and what it has said so far. */
export class SpawnedRun {
  stdout = '';
  stderr = '';
  readonly pid: number;
  /** The exit code, or the signal that ended it; once its output is complete. */
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid as number;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal ?? 'nothing')));
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  /** The JSON object on the last line of stdout. */
  result<T = Readonly<Record<string, unknown>>>(): T {
    const last = this.stdout.trimEnd().split('\n').at(-1) ?? '';
    try {
      return JSON.parse(last) as T;
    } catch {
      throw new Error(`no JSON on the last line of stdout: '${last}'; stderr: ${this.stderr}`);
    }
  }
}

/** SIGKILL; a process that has just gone is no error. */
export function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'ESRCH') throw e;
  }
}

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return '';
  }
}
