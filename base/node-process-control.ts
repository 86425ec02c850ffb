import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { MillraceError } from './errors.js';
import { PARENT_FD_VARIABLE } from './parent-process.js';
import type { ProcessControl, ProcessExit, ProcessHandle } from './process-control.js';

type Role = Parameters<ProcessControl['spawn']>[0];

export interface NodeProcessOptions {
  /** The js file to run, one for all roles (it gets role and name as arguments) or one each. */
  readonly entry: string | Readonly<Record<Role, string>>;
  /** Options for node itself, before the entry: `--max-old-space-size=...`. */
  readonly nodeOptions?: readonly string[];
  /** How long a child may take until it has read its settings; then it is killed. */
  readonly startTimeoutMs?: number;
}

const START_TIMEOUT_MS = 15_000;
const LINK_FD = 3;

const SIGNALS = { kill: 'SIGKILL', stop: 'SIGTERM', pause: 'SIGSTOP', resume: 'SIGCONT' } as const;

/**
 * Real processes. `spawn` resolves once the child has read its settings (`readSettings` in `parent-process.ts`), which
 * go through a socket: neither arguments nor environment, which others can see, hold them. The same socket tells the
 * child when this process is gone. Both outputs of a child go to this process's stderr. A child has a process group
 * of its own, so Ctrl-C reaches only this process, which then stops its children in order.
 */
export function nodeProcessControl(options: NodeProcessOptions): ProcessControl {
  return { spawn: (role, name, settings) => spawnNode(options, role, name, settings) };
}

async function spawnNode(
  options: NodeProcessOptions,
  role: Role,
  name: string,
  settings: unknown,
): Promise<ProcessHandle> {
  const entry = typeof options.entry === 'string' ? options.entry : options.entry[role];
  const child = spawn(process.execPath, [...(options.nodeOptions ?? []), entry, role, name], {
    stdio: ['ignore', 2, 2, 'pipe'],
    env: { ...process.env, [PARENT_FD_VARIABLE]: String(LINK_FD) },
    detached: true,
  });
  const exited = exitOf(child);
  const link = child.stdio[LINK_FD] as Socket | null;
  // Writing to a child that has died is no error of ours: `exited` tells.
  link?.on('error', () => {});
  link?.write(`${JSON.stringify(settings)}\n`);
  const failure = await startFailure(child, link, exited, options.startTimeoutMs ?? START_TIMEOUT_MS);
  if (failure !== undefined) {
    child.kill('SIGKILL');
    await exited;
    throw new MillraceError('unavailable', 'SPAWN_FAILED', `${role} ${name} did not start: ${failure}`, {
      context: { role, name },
    });
  }
  return {
    name,
    pid: child.pid as number,
    exited,
    signal(kind) {
      child.kill(SIGNALS[kind]);
    },
  };
}

function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined }));
    child.once('error', () => resolve({ code: undefined, signal: undefined }));
  });
}

/** Why the child did not start, or undefined once it has read its settings. */
function startFailure(
  child: ChildProcess,
  link: Socket | null,
  exited: Promise<ProcessExit>,
  timeoutMs: number,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(`it said nothing for ${timeoutMs} ms`), timeoutMs);
    const settle = (failure: string | undefined) => {
      clearTimeout(timer);
      resolve(failure);
    };
    child.once('error', (e) => settle(e.message));
    exited.then(({ code, signal }) => settle(signal === undefined ? `exit code ${code}` : `killed by ${signal}`));
    link?.once('data', () => settle(undefined));
  });
}
