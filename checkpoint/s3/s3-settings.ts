import { MillraceError } from '../../base/index.js';

/** Plain data; `checkedS3Settings` fills in and validates. */
export interface S3Settings {
  /**
   * A request fails when it is not answered within this time. While a body comes in, the time starts again with each MiB of
   * it: a stall or a trickle is an error, a long download is not. Sent bodies are at most `multipartFromBytes` long.
   */
  readonly requestTimeoutMs: number;
  /** Objects of this size or more are uploaded in parts. */
  readonly multipartFromBytes: number;
  /** Size of a part, raised where an object would have more than 10,000 of them. S3 itself wants 5 MiB or more. */
  readonly partBytes: number;
  /** Parts of one object in flight at a time. */
  readonly partsInFlight: number;
  /** Requests in flight at a time; others queue. */
  readonly connectionsMax: number;
}

const MiB = 1024 * 1024;

export const defaultS3Settings: S3Settings = {
  requestTimeoutMs: 30_000,
  multipartFromBytes: 16 * MiB,
  partBytes: 8 * MiB,
  partsInFlight: 4,
  connectionsMax: 64,
};

/** What S3 takes in one PUT. */
const putBytesMax = 5 * 1024 * MiB;

/** @throws MillraceError `S3_SETTING` (invalid) that names the bad key. */
export function checkedS3Settings(given: Partial<S3Settings> = {}): S3Settings {
  const settings = { ...defaultS3Settings, ...given };
  for (const [key, value] of Object.entries(settings)) {
    if (!(key in defaultS3Settings))
      throw bad(key, `is not one; there are ${Object.keys(defaultS3Settings).join(', ')}`);
    if (!Number.isSafeInteger(value) || value < 1) throw bad(key, `must be a whole number above 0, not ${value}`);
  }
  for (const key of ['multipartFromBytes', 'partBytes'] as const) {
    if (settings[key] > putBytesMax) throw bad(key, `must be at most ${putBytesMax} (5 GiB), not ${settings[key]}`);
  }
  return Object.freeze(settings);
}

function bad(key: string, what: string): MillraceError {
  return new MillraceError('invalid', 'S3_SETTING', `S3 setting ${key} ${what}`, { context: { key } });
}
