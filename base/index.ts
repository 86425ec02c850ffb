/** The door of base: everything other folders may use, apart from `columnar/` and `rpc/`, which have doors of their own. */
export { probeMappedAtomics } from './atomics-probe.js';
export { bootId } from './boot-id.js';
export { type ByteFile, type ByteFiles, memoryByteFiles, nodeByteFiles } from './byte-file.js';
export { checksumHex, xxh64 } from './checksum.js';
export { type Clock, sleep, systemClock, type Timer, yieldTurn } from './clock.js';
export type { Disk, DiskFile } from './disk.js';
export { assert, type ErrorDetails, type ErrorKind, MillraceError, type SerializedError } from './errors.js';
export { heapMemory } from './heap-memory.js';
export { inParallel, throwIfStopped } from './in-parallel.js';
export { type Logger, type LogLevel, silentLogger, stderrLogger } from './logger.js';
export { type MappedMemoryOptions, mappedMemory } from './mapped-memory.js';
export { claimRunFolder, memoryBackedFolder, releaseRunFolder, sweepDeadRuns } from './memory-folder.js';
export { type Connection, FRAME_BYTES_MAX, type Listener, type Network } from './network.js';
export { nodeDisk } from './node-disk.js';
export { type NodeProcessOptions, nodeProcessControl } from './node-process-control.js';
export { onParentGone, readSettings } from './parent-process.js';
export type { ProcessControl, ProcessExit, ProcessHandle } from './process-control.js';
export { isDead, ownIdentity, type ProcessIdentity, processIsAlive } from './process-identity.js';
export { type Random, seededRandom, systemRandom } from './random.js';
export { remoteSharedArrayMemory, serveSharedArrayMemory, sharedArrayMemory } from './shared-array-memory.js';
export { regionOver, type SharedMemory, type SharedRegion } from './shared-memory.js';
export {
  type ContractCase,
  runContractCase,
  type SharedMemoryPair,
  sharedMemoryContract,
} from './shared-memory-contract.js';
export { remoteMappedMemory, serveMappedMemory } from './thread-mapped-memory.js';
