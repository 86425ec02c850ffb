import { MillraceError } from '../../base/index.js';
import { type BlobStore, type Manifest, readHead, readManifest } from '../../checkpoint/index.js';
import { BlockReader } from '../segment/segment-walk.js';
import { type StateAnswer, type StateQuery, StateReader, type StateSummary } from './read-state.js';

export interface StateQueriesOptions {
  readonly store: BlobStore;
  /** Of the job. */
  readonly keyGroups: number;
  /** Wall time in ms: entries that have expired by then are left out. */
  readonly now: () => number;
  /** Of blocks that are kept between queries. */
  readonly cacheBytesMax?: number;
  /** At once; more are refused. */
  readonly queriesMax?: number;
  /** As of `StateReaderOptions`. */
  readonly breathe?: () => Promise<void>;
}

const CACHE_BYTES_DEFAULT = 16 * 1024 * 1024;
const QUERIES_MAX_DEFAULT = 32;
/** Times that a checkpoint may be collected while it is read. */
const ATTEMPTS_MAX = 5;

/**
 * Answers queries from the newest complete checkpoint of a store, while its job runs and completes others. Nothing is
 * pinned: when what is being read is collected, the query is asked again of the checkpoint that is the newest by then.
 */
export class StateQueries {
  readonly #options: StateQueriesOptions;
  readonly #blocks: BlockReader;
  #current: { readonly name: string; readonly reader: Promise<StateReader> } | undefined;
  #known: StateReader['segments'] = new Map();
  #running = 0;

  constructor(options: StateQueriesOptions) {
    this.#options = options;
    this.#blocks = new BlockReader(options.cacheBytesMax ?? CACHE_BYTES_DEFAULT);
  }

  /** @throws MillraceError `NO_CHECKPOINT`, `QUERIES_BUSY` (unavailable); as `StateReader`. */
  states(): Promise<{ readonly checkpoint: number; readonly states: readonly StateSummary[] }> {
    return this.#bounded(async (reader) => ({ checkpoint: reader.checkpoint, states: reader.states }));
  }

  /** @throws MillraceError `NO_CHECKPOINT`, `QUERIES_BUSY` (unavailable); as `StateReader`. */
  query(query: StateQuery): Promise<StateAnswer> {
    return this.#bounded((reader) => reader.read(query));
  }

  async #bounded<T>(read: (reader: StateReader) => Promise<T>): Promise<T> {
    const { queriesMax = QUERIES_MAX_DEFAULT } = this.#options;
    if (this.#running >= queriesMax) {
      throw new MillraceError('unavailable', 'QUERIES_BUSY', `${queriesMax} queries are being answered; ask again`);
    }
    this.#running++;
    try {
      return await this.#newest(read);
    } finally {
      this.#running--;
    }
  }

  async #newest<T>(read: (reader: StateReader) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const manifest = await this.#manifest();
      try {
        return await read(await this.#readerOf(manifest));
      } catch (thrown) {
        const isMissing =
          thrown instanceof MillraceError && (thrown.code === 'SEGMENT_CORRUPT' || thrown.code === 'BLOB_NOT_FOUND');
        if (!isMissing || attempt === ATTEMPTS_MAX) throw thrown;
        // Gone because it is no longer the newest, or really damaged?
        const newest = await this.#manifest();
        if (nameOf(newest) === nameOf(manifest)) throw thrown;
      }
    }
  }

  async #manifest(): Promise<Manifest> {
    for (let attempt = 1; ; attempt++) {
      const { store } = this.#options;
      const latest = (await readHead(store))?.head.latest;
      if (latest === undefined || latest === null) {
        throw new MillraceError('unavailable', 'NO_CHECKPOINT', `${store.location}: no checkpoint is complete yet`);
      }
      try {
        return await readManifest(store, latest);
      } catch (thrown) {
        // Collected since HEAD was read.
        if (!(thrown instanceof MillraceError && thrown.code === 'BLOB_NOT_FOUND') || attempt === ATTEMPTS_MAX)
          throw thrown;
      }
    }
  }

  #readerOf(manifest: Manifest): Promise<StateReader> {
    const name = nameOf(manifest);
    if (this.#current?.name === name) return this.#current.reader;
    const { store, keyGroups, now, breathe } = this.#options;
    const reader = StateReader.open(store, manifest, {
      keyGroups,
      now,
      blocks: this.#blocks,
      known: this.#known,
      ...(breathe === undefined ? {} : { breathe }),
    });
    const current = { name, reader };
    this.#current = current;
    reader.then(
      ({ segments }) => {
        this.#known = segments;
      },
      () => {
        if (this.#current === current) this.#current = undefined;
      },
    );
    return reader;
  }
}

/** Ids alone begin anew after a reset or a rollback. */
function nameOf({ epoch, checkpointId }: Manifest): string {
  return `${epoch}/${checkpointId}`;
}
