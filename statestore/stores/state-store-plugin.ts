import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Logger, Random } from '../../base/index.js';
import { BaseEntryStorage } from '../host/base-entry-storage.js';
import { lmdbBaseStores, lmdbScratchBases } from '../host/lmdb-base-store.js';
import type { StateWriter } from '../segment/state-writer.js';
import type { KeyGroupRange, StateStore } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import { StoredStateStore } from './stored-state-store.js';

/**
 * A state store that is chosen by name: `--state-store memory`, `lmdb`, or the name of a module whose default export is one of
 * these. `example-state-store.ts` is a whole one; `stateStoreConformance` is the test that each has to pass.
 *
 * The module is imported by the command that starts a run (to see that it is there), and in each thread that runs tasks. So it
 * must not do anything when it is imported. Threads die at any moment, without `close`: what they leave in `folder` is removed
 * with the run.
 *
 * What lasts are the segments, and these are everybody's: the daemon merges them, `millrace state` and `millrace checkpoints` read
 * them, a run goes on from another store's. So a store writes them as `segment-format.ts` says; whoever does not want to
 * know brings an `EntryStorage`, and `StoredStateStore` does the rest.
 *
 * Errors of the contract must be `MillraceError`s (of the running `millrace/base`).
 */
export interface StateStorePlugin {
  /** For logs. */
  readonly name: string;
  /** Once in each thread that runs tasks. Whatever it throws keeps the thread from starting. */
  open(host: StateStoreHost): Promise<StateStores>;
}

export interface StateStoreHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** For files, if there are any: it may not exist yet, others use it too, and it goes with the run. */
  readonly folder: string;
  /**
   * How long a chain of segments may grow before the next one is full: Infinity where the checkpoint store merges them, so that
   * only the first one is.
   */
  readonly chainLengthMax: number;
}

/** State stores of one thread. */
export interface StateStores {
  /** An empty one, of a task attempt that owns these key groups. */
  create(range: KeyGroupRange): StateStore;
  close?(): Promise<void>;
}

/** What a task's file can hold. Address space is reserved for it: there may be hundreds of tasks in a process. */
const LMDB_BYTES_MAX = 2 ** 38;

export type BuiltInStateStore = 'memory' | 'lmdb';

/** `memory`: tables at memory speed (`MemoryStateStore`). `lmdb`: small and slow, in a file; what it holds may be larger than memory. */
export function builtInStateStore(
  name: BuiltInStateStore,
  options: { readonly writer?: StateWriter } = {},
): StateStorePlugin {
  return { name, open: name === 'memory' ? async (host) => memoryStores(host, options) : lmdbStores };
}

function memoryStores({ chainLengthMax }: StateStoreHost, options: { readonly writer?: StateWriter }): StateStores {
  return { create: (range) => new MemoryStateStore(range, { chainLengthMax, ...options }) };
}

async function lmdbStores({ folder, random, chainLengthMax }: StateStoreHost): Promise<StateStores> {
  const open = await lmdbScratchBases({ mapBytes: LMDB_BYTES_MAX });
  const { destroy } = lmdbBaseStores();
  mkdirSync(folder, { recursive: true });
  return {
    create(range) {
      const path = join(folder, `${random.nonce()}.mdb`);
      return new StoredStateStore(
        range,
        new BaseEntryStorage(
          () => open(path),
          () => destroy(path),
        ),
        { chainLengthMax },
      );
    },
  };
}

/** Whether a module's default export is a plug-in; if not, what it lacks. */
export function notAStateStore(exported: unknown): string | undefined {
  if (exported === undefined) return 'it has no default export';
  if (typeof exported !== 'object' || exported === null) return 'its default export is no object';
  const plugin = exported as Partial<Record<keyof StateStorePlugin, unknown>>;
  if (typeof plugin.name !== 'string' || plugin.name === '') return 'its default export has no name';
  return typeof plugin.open === 'function' ? undefined : 'its default export has no method open';
}
