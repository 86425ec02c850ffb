export interface TextColumn {
  readonly title: string;
  readonly align: 'left' | 'right';
}

const BAR_WIDTH = 24;

/** Lines of a table, columns two spaces apart, nothing behind the last word of a line. */
export function textTable(columns: readonly TextColumn[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map(({ title }, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, at) => {
        const [cell, width] = [cells[at] ?? '', widths[at] as number];
        return align === 'left' ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...rows.map(line)];
}

/** A bar of text: as long as its share of the largest; what is not nothing is seen. */
export function textBar(value: number, largest: number): string {
  if (value <= 0 || largest <= 0) return '';
  return '█'.repeat(Math.max(1, Math.round((BAR_WIDTH * value) / largest)));
}

/** `12,345`. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 segment`, `2 segments`. */
export function plural(value: number, noun: string, nouns = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : nouns}`;
}
