import { cpus, release, totalmem } from 'node:os';
import type { Row } from './row.js';

/** What `--json` prints. */
export interface Report {
  readonly suite: string;
  readonly machine: string;
  readonly node: string;
  readonly rows: readonly Row[];
}

export function reportOf(suite: string, rows: readonly Row[]): Report {
  const cores = cpus();
  const gibibytes = Math.round(totalmem() / 2 ** 30);
  const machine = `${cores.length} x ${cores[0]?.model.trim() ?? 'unknown'}, ${gibibytes} GiB, ${process.platform} ${release()}`;
  return { suite, machine, node: process.version, rows };
}

const HEADINGS = ['name', 'value', 'unit', 'limit', 'of', 'ratio', 'reach', 'aim', 'ok'] as const;

/** For people: aligned columns. */
export function table({ suite, machine, node, rows }: Report): string {
  const cells = [HEADINGS, ...rows.map(cellsOf)];
  const widths = HEADINGS.map((_, i) => Math.max(...cells.map((row) => (row[i] as string).length)));
  const isNumber = (i: number) => i === 1 || i === 3 || (i >= 5 && i <= 7);
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (isNumber(i) ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number)))
      .join('  ');
  return [`${suite}: ${machine}, Node ${node}`, ...cells.map((row) => line(row).trimEnd())].join('\n');
}

/** The same as a Markdown table. */
export function markdown(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const [name, value, unit, limit, limitName, ratio, reach, aim, ok] = cellsOf(row);
    const beside = limit === '-' ? '-' : `${limit} (${limitName})`;
    const goal = reach === '-' ? '-' : `${reach} / ${aim}`;
    return `| \`${name}\` | ${value} ${unit} | ${beside} | ${ratio} | ${goal} | ${ok} |`;
  });
  return ['| row | value | limit | ratio | reach / aim | ok |', '| --- | --- | --- | --- | --- | --- |', ...lines].join(
    '\n',
  );
}

function cellsOf(row: Row): string[] {
  const { name, value, unit, limit, limitName, ratio, reach, aim, ok } = row;
  const numbers = [ratio, reach, aim].map((n) => (n === null ? '-' : figure(n)));
  const verdict = ok === null ? '-' : ok ? 'yes' : 'NO';
  return [name, figure(value), unit, limit === null ? '-' : figure(limit), limitName ?? '-', ...numbers, verdict];
}

/** Three significant digits, with thousands separated: more would pretend to a precision that is not there. */
export function figure(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  if (digits > 0) return String(Number(value.toFixed(Math.min(digits, 12))));
  const scale = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 2);
  return (Math.round(value / scale) * scale).toLocaleString('en-US', { maximumFractionDigits: 0 });
}
