import {
  type Clock,
  type Disk,
  type Logger,
  MillraceError,
  nodeDisk,
  type Random,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
  yieldTurn,
} from '../../../base/index.js';
import { EXIT_FAILURE, EXIT_INTERRUPTED, errorLine, exitCodeOf } from '../exit.js';
import { onInterrupt } from '../interrupt.js';
import type { ToolFlags } from './tool-options.js';

/** What a tool has found out: for people, and for programs. */
export interface ToolResult {
  readonly text: readonly string[];
  /** Printed on one line with --json, with `ok`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** False: something is damaged; the exit code is 1. */
  readonly ok?: boolean;
}

const PROGRESS_MS = 100;
/** How long a tool that is stopped may take to come to its next step and take its pins away: a store may not answer at all. */
const STOP_MS = 3000;

/** What an offline tool works with: the machine, how it is stopped, and where it says how far it is. */
export class Tool {
  readonly flags: ToolFlags;
  readonly disk: Disk = nodeDisk();
  readonly clock: Clock = systemClock();
  readonly random: Random = systemRandom();
  /** A tool says itself what went wrong. */
  readonly logger: Logger = silentLogger();
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** What there is to know when it is stopped now. */
  leaves = '';
  #shownMs = Number.NEGATIVE_INFINITY;
  #shown = false;

  constructor(flags: ToolFlags, signal: AbortSignal) {
    this.flags = flags;
    this.signal = signal;
  }

  /** What long work of `checkpoint/` asks for. */
  get long(): { readonly signal: AbortSignal; breathe(): Promise<void> } {
    return { signal: this.signal, breathe: () => yieldTurn(this.clock) };
  }

  /** On stderr, when that is a terminal: how much of it is done. */
  progress(what: string, show: (n: number) => string = String): (done: number, all: number) => void {
    return (done, all) => {
      const nowMs = this.clock.monotonicMs();
      if (process.stderr.isTTY !== true || (nowMs - this.#shownMs < PROGRESS_MS && done < all)) return;
      this.#shownMs = nowMs;
      this.#shown = true;
      const share = all === 0 ? 100 : Math.floor((100 * done) / all);
      process.stderr.write(`\r\x1b[K${what}: ${show(done)} of ${show(all)} (${share}%)`);
    };
  }

  /** A line on stderr that is no error. */
  note(line: string): void {
    this.clear();
    process.stderr.write(`${line}\n`);
  }

  /** Takes away what `progress` has shown. */
  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}

/** Runs a tool from its flags to the exit code: prints its result, or one line that says what went wrong. Never rejects. */
export async function runTool(flags: ToolFlags, work: (tool: Tool) => Promise<ToolResult>): Promise<void> {
  const stop = new AbortController();
  const tool = new Tool(flags, stop.signal);
  let running: Promise<void> = Promise.resolve();
  const restore = onInterrupt(async (signal) => {
    stop.abort();
    await Promise.race([running, sleep(tool.clock, STOP_MS)]);
    tool.clear();
    process.stderr.write(`\n${signal}: stopped${tool.leaves === '' ? '' : `; ${tool.leaves}`}\n`);
  }, EXIT_INTERRUPTED);
  running = run(tool, work);
  await running;
  if (stop.signal.aborted) return await new Promise(() => {});
  restore();
}

async function run(tool: Tool, work: (tool: Tool) => Promise<ToolResult>): Promise<void> {
  try {
    const { text, json, ok = true } = await work(tool);
    tool.clear();
    const lines = tool.flags.json === true ? [JSON.stringify({ ok, ...json })] : text;
    process.stdout.write(lines.map((line) => `${line}\n`).join(''));
    process.exitCode = ok ? 0 : EXIT_FAILURE;
  } catch (thrown) {
    tool.clear();
    if (tool.signal.aborted && MillraceError.from(thrown).code === 'STOPPED') return;
    process.stderr.write(`${errorLine(thrown)}\n`);
    if (tool.flags.json === true) process.stdout.write(`${JSON.stringify({ ok: false, error: errorLine(thrown) })}\n`);
    process.exitCode = exitCodeOf(thrown);
  }
}
