import { type Clock, systemClock } from '../../base/index.js';
import { S3BlobStore } from './s3-blob-store.js';
import type { S3Server } from './s3-connection.js';
import { S3Front } from './s3-front.test.support.js';
import { type TestS3Options, TestS3Server } from './s3-server.test.support.js';
import type { S3Settings } from './s3-settings.js';

export interface StoreOptions {
  readonly clock?: Clock;
  readonly settings?: Partial<S3Settings>;
  readonly server?: S3Server;
}

/** A small S3 server, a front before it that breaks what it is told to, and stores on either; all closed at the end. */
export interface S3Ground {
  readonly s3: TestS3Server;
  readonly front: S3Front;
  /** Through the front. */
  open(options?: StoreOptions): Promise<S3BlobStore>;
  /** Past the front: to look at what is there, or to be another writer. */
  readonly direct: S3BlobStore;
}

export async function onS3<T>(
  run: (ground: S3Ground) => Promise<T>,
  options: TestS3Options & { readonly seed?: number } = {},
): Promise<T> {
  const s3 = await TestS3Server.listen(options);
  const front = await S3Front.listen(s3.url, options);
  const stores: S3BlobStore[] = [];
  const open = async ({ clock = systemClock(), settings = {}, server = {} }: StoreOptions = {}) => {
    const reached = { ...s3.server, endpoint: front.url, ...server };
    const store = await S3BlobStore.open({ bucket: 'test-bucket', prefix: 'p', server: reached, clock, settings });
    stores.push(store);
    return store;
  };
  try {
    return await run({ s3, front, open, direct: await open({ server: s3.server }) });
  } finally {
    for (const store of stores) store.close();
    await front.close();
    await s3.close();
  }
}

/** Bytes that tell where they stand. */
export function patternBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8)) & 0xff;
  return bytes;
}
