import type { LogLevel } from '../../base/index.js';
import type { JobArtefact } from './job-loader.js';
import type { ShuffleKind } from './shuffle-kind.js';
import type { StateStoreKind } from './state-store-kind.js';

/** What a worker process is started with; plain data, JSON. */
export interface WorkerSettings {
  readonly worker: string;
  readonly slots: number;
  readonly runId: string;
  /** Of Millrace; must be the scheduler's. */
  readonly version: string;
  readonly job: JobArtefact;
  readonly schedulerAddress: string;
  readonly daemonAddress: string;
  /** Hex. */
  readonly token: string;
  readonly shuffle: ShuffleKind;
  /** Memory-backed folder of the run's regions (mapped only). */
  readonly memoryFolder: string | undefined;
  readonly stateStore: StateStoreKind;
  /** Of one task, with `tiered`: what does not fit stays on the host. */
  readonly stateMemoryBytes: number;
  /** For files of state stores; gone with the run. */
  readonly stateFolder: string;
  readonly heartbeatMs: number;
  readonly logLevel: LogLevel;
}

/** What one slot's thread is started with. */
export interface SlotSettings extends WorkerSettings {
  readonly slot: number;
}
