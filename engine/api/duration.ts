import { MillraceError } from '../../base/index.js';

/** Milliseconds, or a number with a unit: `250ms`, `1s`, `30m`, `1h`, `7d`. */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @throws MillraceError `DURATION` (invalid) naming the text. */
export function durationMs(duration: Duration): number {
  if (typeof duration === 'number') {
    if (Number.isFinite(duration) && duration >= 0) return duration;
  } else {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration);
    if (match !== null) return Number(match[1]) * (UNIT_MS[match[2] as string] as number);
  }
  throw new MillraceError(
    'invalid',
    'DURATION',
    `'${duration}' is not a duration; write for example '500ms', '1m' or '1h'`,
  );
}
