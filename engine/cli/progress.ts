import { Presets, SingleBar } from 'cli-progress';
import { byteSize } from './byte-size.js';
import type { JobStatus } from './job-run.js';

/** A progress bar on stderr; where stderr is no terminal, a line every few seconds. */
export interface Progress {
  update(status: JobStatus): void;
  /** A line above the bar. */
  say(line: string): void;
  stop(): void;
}

const LINE_INTERVAL_MS = 5000;

export function openProgress(totalRows: number | undefined, quiet: boolean): Progress {
  if (quiet) return { update() {}, say() {}, stop() {} };
  return process.stderr.isTTY === true ? barProgress(totalRows) : lineProgress(totalRows);
}

function describe(status: JobStatus): string {
  const last = status.lastCheckpoint;
  const checkpoint =
    last === undefined
      ? 'no checkpoint yet'
      : `checkpoint ${last.id}: ${byteSize(last.bytes)} in ${last.durationMs} ms`;
  return `${Math.round(status.rowsPerSecond / 1000)} k rows/s | ${checkpoint} | restarts ${status.restarts}`;
}

function barProgress(totalRows: number | undefined): Progress {
  const bar = new SingleBar(
    {
      format: ' {bar} {percentage}% | {value}/{total} rows | {text}',
      hideCursor: true,
      clearOnComplete: false,
      stream: process.stderr,
      gracefulExit: false,
    },
    Presets.shades_classic,
  );
  bar.start(totalRows ?? 1, 0, { text: 'starting' });
  return {
    update(status) {
      if (totalRows === undefined) bar.setTotal(Math.max(1, status.rows));
      bar.update(status.rows, { text: describe(status) });
    },
    say(line) {
      process.stderr.write(`\r\x1b[K${line}\n`);
      bar.render();
    },
    stop() {
      bar.stop();
    },
  };
}

function lineProgress(totalRows: number | undefined): Progress {
  let saidMs = 0;
  return {
    update(status) {
      if (status.elapsedMs - saidMs < LINE_INTERVAL_MS) return;
      saidMs = status.elapsedMs;
      const share = totalRows === undefined ? '' : `${Math.round((100 * status.rows) / totalRows)}% `;
      process.stderr.write(`${share}${status.rows} rows | ${describe(status)}\n`);
    },
    say(line) {
      process.stderr.write(`${line}\n`);
    },
    stop() {},
  };
}
