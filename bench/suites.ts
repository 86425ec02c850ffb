import type { Suite } from './harness.js';

export interface SuiteEntry {
  readonly name: string;
  readonly describe: string;
  /** Loaded only when it runs, so that suites do not change each other's figures. */
  load(): Promise<Suite>;
}

/** In the order in which `all` runs them. */
export const SUITES: readonly SuiteEntry[] = [
  {
    name: 'main',
    describe: 'the main job, whole processes, beside a plain single-threaded computation',
    load: async () => (await import('./suites/main-job.js')).mainJob,
  },
  {
    name: 'columnar',
    describe: 'batches, row views, keys, rows as bytes',
    load: async () => (await import('./suites/columnar.js')).columnar,
  },
  {
    name: 'rpc',
    describe: 'requests and notices between two processes: Unix socket, WebSocket',
    load: async () => (await import('./suites/rpc.js')).rpc,
  },
  {
    name: 'shuffle',
    describe: 'buffers from a producer to a consumer: mapped, in-process, over the wire',
    load: async () => (await import('./suites/shuffle.js')).shuffle,
  },
  {
    name: 'state',
    describe: 'hot keys, snapshot, restore',
    load: async () => (await import('./suites/state.js')).state,
  },
  {
    name: 'state-large',
    describe: 'state of 100 M keys, ten times what fits into memory: minutes, and 10 GB of disk',
    load: async () => (await import('./suites/state-large.js')).stateLarge,
  },
  {
    name: 'checkpoint',
    describe: 'what a checkpoint writes, how long it takes, what merging costs, first read of a restore',
    load: async () => (await import('./suites/checkpoint.js')).checkpoint,
  },
  {
    name: 'chaos',
    describe: 'the simulator: how fast, how much it meets, how soon it catches broken variants',
    load: async () => (await import('./suites/chaos.js')).chaos,
  },
  {
    name: 'connectors',
    describe: 'parquet into batches, batches into JSON lines',
    load: async () => (await import('./suites/connectors.js')).connectors,
  },
];
