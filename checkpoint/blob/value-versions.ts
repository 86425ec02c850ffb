import type { BlobStore, BlobVersion } from './blob-store.js';

/** All versions of a value that a store still has, newest first: of most stores there is one. */
export async function valueVersions(store: BlobStore, name: string): Promise<readonly BlobVersion[]> {
  if (store.versions !== undefined) return store.versions(name);
  const value = await store.read(name);
  return value === undefined ? [] : [value];
}
