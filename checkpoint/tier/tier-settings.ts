import { MillraceError } from '../../base/index.js';
import type { TierAuthority } from './tier-folder.js';

export interface TierSettings {
  /** Whose word counts: see `TieredBlobStore`. */
  readonly authority: TierAuthority;
  /** Objects and ranges kept in memory. */
  readonly memoryBytesMax: number;
  /** Copies on disk of what the remote has. */
  readonly diskBytesMax: number;
  /** The quota of what waits on disk for its upload; besides `diskBytesMax`. */
  readonly pendingBytesMax: number;
  /** Uploads at a time. */
  readonly uploadsMax: number;
  /** Of uploads, on average; `Infinity` for no limit. */
  readonly uploadBytesPerSecondMax: number;
  /** How long after its end a call without an answer may still take effect at the remote: longer than any request lives. */
  readonly lateWriteMs: number;
}

export const defaultTierSettings: Omit<TierSettings, 'authority'> = {
  memoryBytesMax: 64 * 2 ** 20,
  diskBytesMax: 8 * 2 ** 30,
  pendingBytesMax: 8 * 2 ** 30,
  uploadsMax: 4,
  uploadBytesPerSecondMax: Number.POSITIVE_INFINITY,
  lateWriteMs: 15 * 60_000,
};

/** @throws MillraceError `TIER_SETTINGS` (invalid) naming the bad key. */
export function tierSettings(given: Pick<TierSettings, 'authority'> & Partial<TierSettings>): TierSettings {
  const settings: TierSettings = Object.freeze({ ...defaultTierSettings, ...given });
  const refuse = (key: keyof TierSettings, what: string) => {
    throw new MillraceError('invalid', 'TIER_SETTINGS', `${key} must be ${what}, not ${String(settings[key])}`);
  };
  if (settings.authority !== 'local' && settings.authority !== 'remote') refuse('authority', 'local or remote');
  for (const key of ['memoryBytesMax', 'diskBytesMax', 'lateWriteMs'] as const) {
    if (!(settings[key] >= 0)) refuse(key, '0 or more');
  }
  for (const key of ['pendingBytesMax', 'uploadBytesPerSecondMax'] as const) {
    if (!(settings[key] > 0)) refuse(key, 'more than 0');
  }
  if (!Number.isInteger(settings.uploadsMax) || settings.uploadsMax < 1)
    refuse('uploadsMax', 'a whole number, 1 or more');
  return settings;
}
