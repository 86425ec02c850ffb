import { readFileSync } from 'node:fs';

/** Bytes of memory that are this process's alone: neither files nor what it shares with others. */
export function anonymousBytes(): number {
  try {
    const line = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (line?.[1] !== undefined) return Number(line[1]) * 1024;
  } catch {
    // No /proc here.
  }
  return process.memoryUsage().rss;
}
