import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Clock, type Disk, type Logger, MillraceError, type Random } from '../../base/index.js';
import { S3BlobStore } from '../s3/s3-blob-store.js';
import type { S3Server } from '../s3/s3-connection.js';
import type { S3Settings } from '../s3/s3-settings.js';
import { hasCode, reasonOf } from './blob-errors.js';
import type { BlobStore } from './blob-store.js';
import { DirectoryBlobStore } from './directory-blob-store.js';
import { probeConditions } from './store-probe.js';

/** No put takes this long: an upload in parts that is older was left by a process that died. */
const uploadAgeMsMax = 24 * 3600 * 1000;

export interface OpenBlobStoreOptions {
  readonly disk: Disk;
  readonly random: Random;
  readonly clock: Clock;
  /** Told what is amiss, but not enough to refuse the store. */
  readonly logger?: Logger;
  /** For `s3://` only. */
  readonly s3?: S3Server & { readonly settings?: Partial<S3Settings> };
  /** False leaves out `probeConditions` and the sweep, and so writes nothing: for tools that only read. */
  readonly probe?: boolean;
}

/** Where a store is, as its URL says. */
export type BlobStorePlace =
  | { readonly kind: 'directory'; readonly root: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string };

/**
 * Opens the store that a URL names: `s3://bucket/prefix`, `file:///path`, or the path of a directory, which is created.
 * A store in S3 is probed: one that ignores conditions is refused. It tries nothing twice: see RetryingBlobStore.
 * @throws MillraceError `STORE_URL`, `STORE_CONDITIONS`, `S3_*` (invalid), `STORE_UNAVAILABLE` (unavailable).
 */
export async function openBlobStore(
  url: string,
  options: OpenBlobStoreOptions,
): Promise<BlobStore & { close?(): void }> {
  const place = parseBlobStoreUrl(url);
  const { disk, random, clock, logger } = options;
  if (place.kind === 'directory') {
    return DirectoryBlobStore.open({ disk, root: place.root, random, sweep: options.probe !== false });
  }
  const { settings, ...server } = options.s3 ?? {};
  const { bucket, prefix } = place;
  const store = await S3BlobStore.open({
    bucket,
    prefix,
    server,
    clock,
    ...(settings === undefined ? {} : { settings }),
  });
  if (options.probe === false) return store;
  const sweep = sweepOldUploads(store, clock, logger);
  try {
    await probeConditions(store, { random });
    await sweep;
    return store;
  } catch (thrown) {
    store.close();
    throw thrown;
  }
}

/** @throws MillraceError `STORE_URL` (invalid) that says what is wrong with it. */
export function parseBlobStoreUrl(url: string): BlobStorePlace {
  const bad = (why: string) =>
    new MillraceError(
      'invalid',
      'STORE_URL',
      `${JSON.stringify(url)} names no checkpoint store: ${why}; give s3://bucket/prefix or the path of a directory`,
    );
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]+):/.exec(url)?.[1];
  if (url.trim() === '') throw bad('it is empty');
  if (url.includes('\0')) throw bad('it contains a zero byte');
  if (scheme === undefined) return { kind: 'directory', root: resolve(url) };
  if (scheme === 'file') return { kind: 'directory', root: filePath(url, bad) };
  if (scheme !== 's3') throw bad(`nothing is known of ${scheme}:`);
  const [, bucket = '', path = ''] = /^s3:\/\/([^/]*)(?:\/(.*))?$/s.exec(url) ?? [];
  if (bucket === '') throw bad('the bucket is missing');
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    throw bad(`${JSON.stringify(bucket)} is no name of a bucket (3 to 63 of a-z, 0-9, '-' and '.')`);
  }
  const prefix = path.replace(/\/$/, '');
  for (const part of prefix === '' ? [] : prefix.split('/')) {
    if (part !== '.' && part !== '..' && /^[A-Za-z0-9!_.*'()=+@,:~$-]{1,200}$/.test(part)) continue;
    throw bad(`${JSON.stringify(part)} cannot be part of a prefix`);
  }
  return { kind: 's3', bucket, prefix };
}

function filePath(url: string, bad: (why: string) => MillraceError): string {
  try {
    return fileURLToPath(url);
  } catch (thrown) {
    throw bad(reasonOf(thrown));
  }
}

/** What a dead process left costs room, but is no reason to refuse the store. */
async function sweepOldUploads(store: S3BlobStore, clock: Clock, logger: Logger | undefined): Promise<void> {
  const oldest = clock.now() - uploadAgeMsMax;
  try {
    const swept = await store.sweepUploads(({ startedAtMs }) => startedAtMs < oldest);
    if (swept.length === 0) return;
    const { location } = store;
    logger?.info({ location, uploads: swept.length }, 'uploads that were never finished are removed');
  } catch (thrown) {
    if (hasCode(thrown, 'STORE_CLOSED')) return;
    logger?.warn(
      { location: store.location, reason: reasonOf(thrown) },
      'uploads that were never finished cannot be removed',
    );
  }
}
