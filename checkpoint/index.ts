/** The checkpoint store: blobs, HEAD, manifests. Usable alone; knows nothing of jobs. */
export { hasCode } from './blob/blob-errors.js';
export { type ObjectName, parseObjectName, validateBlobName } from './blob/blob-name.js';
export type { BlobReader, BlobStore } from './blob/blob-store.js';
export {
  type BlobStorePair,
  blobStoreContract,
} from './blob/blob-store-contract.js';
export { ByteLru } from './blob/byte-lru.js';
export {
  type BlobCall,
  type BlobCallCounts,
  type BlobStoreCounts,
  blobCalls,
  CountedBlobStore,
} from './blob/counted-blob-store.js';
export { DirectoryBlobStore } from './blob/directory-blob-store.js';
export { EncryptedBlobStore } from './blob/encrypted-blob-store.js';
export { type BlobStoreFaults, FaultyBlobStore, NO_BLOB_STORE_FAULTS } from './blob/faulty-blob-store.js';
export { MemoryBlobStore } from './blob/memory-blob-store.js';
export { type OpenBlobStoreOptions, openBlobStore, parseBlobStoreUrl } from './blob/open-blob-store.js';
export { defaultRetrySettings, RetryingBlobStore, type RetrySettings } from './blob/retrying-blob-store.js';
export { type ProbedStore, probeConditions } from './blob/store-probe.js';
export {
  type CheckedCheckpoint,
  type CheckedPin,
  type CheckOptions,
  checkStore,
  type SizedObject,
  type StoreFindings,
} from './check-store.js';
export { type CheckpointLocation, type OpenedCheckpoints, openCheckpointPlace } from './checkpoint-place.js';
export {
  CheckpointStore,
  type CheckpointStoreOptions,
  type Reservation,
} from './checkpoint-store.js';
export { collectGarbage, type Garbage, readManifest } from './collect-garbage.js';
export { type CompactOptions, compact } from './compact.js';
export {
  type CheckpointPlace,
  type DiffOptions,
  diffCheckpoints,
  type EntryChange,
  type StateDiff,
} from './diff-checkpoints.js';
export {
  decodeHead,
  decodeManifest,
  encodeHead,
  encodeManifest,
  type Head,
  type HeadManifest,
  headFormat,
  isMoved,
  type MovedManifest,
} from './head/head.js';
export { headName, readHead } from './head/head-register.js';
export { type KeptCheckpoint, listKept } from './head/list-kept.js';
export { type RepairedHead, type RepairOptions, repairHead } from './head/repair-head.js';
export type { Manifest, SegmentRef, TaskSnapshot } from './manifest.js';
export { measureCheckpoint, type StateSize, type TaskSize } from './measure-checkpoint.js';
export { type Pin, pin, readPins, unpin, unpinAll, whilePinned } from './pin.js';
export {
  applyCompaction,
  type CompactionPlan,
  type CompactionSettings,
  compactionDefaults,
  planCompaction,
} from './plan-compaction.js';
export { S3BlobStore, type S3BlobStoreOptions, type UnfinishedUpload } from './s3/s3-blob-store.js';
export type { S3Credentials, S3Server } from './s3/s3-connection.js';
export { defaultS3Settings, type S3Settings } from './s3/s3-settings.js';
export { checkSavepoint, type SavepointFindings } from './savepoint/check-savepoint.js';
export { removeSavepoint } from './savepoint/remove-savepoint.js';
export {
  type RestoredSavepoint,
  type RestoreSavepointOptions,
  type RestoreTarget,
  restoreSavepoint,
} from './savepoint/restore-savepoint.js';
export {
  type BegunSavepoint,
  begunName,
  readBegun,
  readSavepoint,
  type Savepoint,
  type SavepointState,
  savepointState,
} from './savepoint/savepoint.js';
export { type WriteSavepointOptions, writeSavepoint } from './savepoint/write-savepoint.js';
export { LiveEntries } from './segment/live-entries.js';
export { type MergeOptions, mergeSegments } from './segment/merge-segments.js';
export { SegmentBuilder, type SegmentBytes } from './segment/segment-builder.js';
export { compareBytes, SegmentReader, SegmentWriter, segmentCorrupt } from './segment/segment-bytes.js';
export { SegmentCursor } from './segment/segment-cursor.js';
export {
  blocksOf,
  decodeIndex,
  HAS_SUB,
  type KeyGroups,
  readTrailer,
  SECTION,
  type SegmentBlock,
  type SegmentIndex,
  type SegmentState,
  segmentVersion,
  TOMBSTONE,
  verifyBlock,
} from './segment/segment-format.js';
export { describeSegment, LoadedSegment, readSegment, StoredSegment } from './segment/stored-segment.js';
export { SegmentHome, type SegmentHomeOptions, type SegmentOwner } from './segment-home.js';
export type { TierAuthority } from './tier/tier-folder.js';
export { defaultTierSettings, type TierSettings } from './tier/tier-settings.js';
export { TieredBlobStore, type TieredBlobStoreOptions, type TierStatus } from './tier/tiered-blob-store.js';
export { type DamagedCheckpoint, fallBack, findRestorable, type RestorableCheckpoint } from './undamaged.js';
export {
  type CheckpointFindings,
  type CheckpointProblem,
  segmentKey,
  type VerifiedSegments,
  type VerifyOptions,
  verifyCheckpoint,
} from './verify.js';
