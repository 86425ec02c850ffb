/** The checkpoint store: blobs, HEAD, manifests. Usable alone; knows nothing of jobs. */
export { type ObjectName, parseObjectName, validateBlobName } from './blob-name.js';
export type { BlobStore } from './blob-store.js';
export {
  type BlobStoreContractCase,
  type BlobStorePair,
  blobStoreContract,
  runBlobStoreCase,
} from './blob-store-contract.js';
export { CheckpointStore, headName } from './checkpoint-store.js';
export {
  type BlobCall,
  type BlobCallCounts,
  type BlobStoreCounts,
  blobCalls,
  CountedBlobStore,
} from './counted-blob-store.js';
export { DirectoryBlobStore } from './directory-blob-store.js';
export { EncryptedBlobStore } from './encrypted-blob-store.js';
export { type BlobStoreFaults, FaultyBlobStore, NO_BLOB_STORE_FAULTS } from './faulty-blob-store.js';
export {
  decodeHead,
  decodeManifest,
  encodeHead,
  encodeManifest,
  type Head,
  headFormat,
  type RetainedCheckpoint,
} from './head.js';
export type { Manifest, SegmentRef, TaskSnapshot } from './manifest.js';
export { MemoryBlobStore } from './memory-blob-store.js';
export { defaultRetrySettings, RetryingBlobStore, type RetrySettings } from './retrying-blob-store.js';
export { SegmentHome, type SegmentHomeOptions, type SegmentOwner } from './segment-home.js';
