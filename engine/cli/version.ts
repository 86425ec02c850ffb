import { readFileSync } from 'node:fs';

/** Of this package; equal in every process of a run. */
export const VERSION = (
  JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
