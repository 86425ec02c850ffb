/** The door of base: everything other folders may use, apart from `columnar/` and `rpc/`, which have doors of their own. */
export { checksumHex, xxh64 } from './checksum.js';
export { type Clock, sleep, systemClock, type Timer, yieldTurn } from './clock.js';
export type { Disk, DiskFile } from './disk.js';
export { assert, type ErrorDetails, type ErrorKind, MillraceError, type SerializedError } from './errors.js';
export { type Logger, type LogLevel, silentLogger, stderrLogger } from './logger.js';
export { type Connection, FRAME_BYTES_MAX, type Listener, type Network } from './network.js';
export type { ProcessControl, ProcessExit, ProcessHandle } from './process-control.js';
export { type Random, seededRandom, systemRandom } from './random.js';
export type { SharedMemory, SharedRegion } from './shared-memory.js';
