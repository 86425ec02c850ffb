/** The checkpoint store: blobs, HEAD, manifests. Usable alone; knows nothing of jobs. */
export { hasCode } from './blob-errors.js';
export { type ObjectName, parseObjectName, validateBlobName } from './blob-name.js';
export type { BlobStore } from './blob-store.js';
export {
  type BlobStoreContractCase,
  type BlobStorePair,
  blobStoreContract,
  runBlobStoreCase,
} from './blob-store-contract.js';
export { ByteLru } from './byte-lru.js';
export { checkSavepoint, type SavepointFindings } from './check-savepoint.js';
export {
  type CheckedCheckpoint,
  type CheckedPin,
  type CheckOptions,
  checkStore,
  type SizedObject,
  type StoreFindings,
} from './check-store.js';
export {
  CheckpointStore,
  type CheckpointStoreOptions,
  type Reservation,
} from './checkpoint-store.js';
export { collectGarbage, type Garbage, readManifest } from './collect-garbage.js';
export { type CompactOptions, compact } from './compact.js';
export {
  type BlobCall,
  type BlobCallCounts,
  type BlobStoreCounts,
  blobCalls,
  CountedBlobStore,
} from './counted-blob-store.js';
export {
  type CheckpointPlace,
  type DiffOptions,
  diffCheckpoints,
  type EntryChange,
  type StateDiff,
} from './diff-checkpoints.js';
export { DirectoryBlobStore } from './directory-blob-store.js';
export { EncryptedBlobStore } from './encrypted-blob-store.js';
export { type BlobStoreFaults, FaultyBlobStore, NO_BLOB_STORE_FAULTS } from './faulty-blob-store.js';
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
} from './head.js';
export { headName, readHead } from './head-register.js';
export { type KeptCheckpoint, listKept } from './list-kept.js';
export { LiveEntries } from './live-entries.js';
export type { Manifest, SegmentRef, TaskSnapshot } from './manifest.js';
export { measureCheckpoint, type StateSize, type TaskSize } from './measure-checkpoint.js';
export { MemoryBlobStore } from './memory-blob-store.js';
export { type MergeOptions, mergeSegments } from './merge-segments.js';
export { type OpenBlobStoreOptions, openBlobStore, parseBlobStoreUrl } from './open-blob-store.js';
export { type Pin, pin, readPins, unpin, whilePinned } from './pin.js';
export {
  applyCompaction,
  type CompactionPlan,
  type CompactionSettings,
  compactionDefaults,
  planCompaction,
} from './plan-compaction.js';
export { removeSavepoint } from './remove-savepoint.js';
export { type RepairedHead, type RepairOptions, repairHead } from './repair-head.js';
export {
  type RestoredSavepoint,
  type RestoreSavepointOptions,
  type RestoreTarget,
  restoreSavepoint,
} from './restore-savepoint.js';
export { defaultRetrySettings, RetryingBlobStore, type RetrySettings } from './retrying-blob-store.js';
export { S3BlobStore, type S3BlobStoreOptions, type UnfinishedUpload } from './s3-blob-store.js';
export type { S3Credentials, S3Server } from './s3-connection.js';
export { defaultS3Settings, type S3Settings } from './s3-settings.js';
export {
  type BegunSavepoint,
  begunName,
  readBegun,
  readSavepoint,
  type Savepoint,
  type SavepointState,
  savepointState,
} from './savepoint.js';
export { SegmentBuilder, type SegmentBytes } from './segment-builder.js';
export { compareBytes, SegmentReader, SegmentWriter, segmentCorrupt } from './segment-bytes.js';
export { SegmentCursor } from './segment-cursor.js';
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
} from './segment-format.js';
export { SegmentHome, type SegmentHomeOptions, type SegmentOwner } from './segment-home.js';
export { type ProbedStore, probeConditions } from './store-probe.js';
export { describeSegment, LoadedSegment, readSegment, StoredSegment } from './stored-segment.js';
export type { TierAuthority } from './tier-folder.js';
export { defaultTierSettings, type TierSettings } from './tier-settings.js';
export { TieredBlobStore, type TieredBlobStoreOptions, type TierStatus } from './tiered-blob-store.js';
export { type DamagedCheckpoint, fallBack, findRestorable, type RestorableCheckpoint } from './undamaged.js';
export {
  type CheckpointFindings,
  type CheckpointProblem,
  segmentKey,
  type VerifiedSegments,
  type VerifyOptions,
  verifyCheckpoint,
} from './verify.js';
export { type WriteSavepointOptions, writeSavepoint } from './write-savepoint.js';
