import { type ColumnType, hashKey, keyGroupOf, keyTypesOf } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import { type BlobStore, compareBytes, type Manifest, StoredSegment, segmentKey } from '../../checkpoint/index.js';
import { BlockReader, GroupWalk } from '../segment/segment-walk.js';
import { EntriesOfKey, operatorEntries, type StateEntry } from './entries-of-key.js';
import { encodeQueryKey, type QueryKey } from './query-key.js';
import { type CatalogState, catalogOf, type OpenedTask, type TaskState } from './state-catalog.js';
import { type Json, keyWords } from './state-words.js';

/** By key, or all keys in [from, to) in the order of their values; `from` and `to` may leave out the last columns. */
export interface StateQuery {
  /** `n3/seen`, or what follows the slash where that is one state only. */
  readonly state: string;
  readonly key?: QueryKey;
  readonly from?: QueryKey;
  readonly to?: QueryKey;
  /** Keys, at most 10,000; 100 by default. */
  readonly limit?: number;
}

export interface StateAnswer {
  /** What the answer is the state of. */
  readonly checkpoint: number;
  readonly state: string;
  readonly kind: CatalogState['kind'];
  readonly entries: readonly StateEntry[];
  /** The first key that is not in it, for the limit or because it has grown large: the `from` to go on with. */
  readonly next?: Json;
}

export interface StateSummary {
  readonly name: string;
  readonly kind: CatalogState['kind'];
  /** Types of its keys, where they are known. */
  readonly key: readonly (ColumnType | null)[];
  readonly tasks: readonly string[];
  /** In all segments together: versions of one entry in several of them count each. */
  readonly entries: number;
}

export interface StateReaderOptions {
  /** Of the job. */
  readonly keyGroups: number;
  /** Entries that have expired by then are left out. */
  readonly now: () => number;
  readonly blocks?: BlockReader;
  /** Lets others have their turn; called now and then during a long answer. */
  readonly breathe?: () => Promise<void>;
  /** Opened before, by `segmentKey`. */
  readonly known?: ReadonlyMap<string, StoredSegment>;
}

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 10_000;
/** Bytes read behind which a range ends. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
/** Entries between two breaths. */
const BREATH_ENTRIES = 256;
/** Key groups that are looked into at once. */
const WALKS_AT_ONCE = 16;
const BLOCK_BYTES_KEPT = 8 * 1024 * 1024;

/**
 * Reads the state of one complete checkpoint, whoever wrote it, without its job: the indexes of the segments when it is
 * opened, then blocks as queries need them. Everything read is verified.
 */
export class StateReader {
  readonly checkpoint: number;
  readonly segments: ReadonlyMap<string, StoredSegment>;
  readonly #states: readonly CatalogState[];
  readonly #options: StateReaderOptions;
  readonly #blocks: BlockReader;

  private constructor(
    manifest: Manifest,
    tasks: readonly OpenedTask[],
    segments: ReadonlyMap<string, StoredSegment>,
    options: StateReaderOptions,
  ) {
    this.checkpoint = manifest.checkpointId;
    this.segments = segments;
    this.#states = catalogOf(tasks);
    this.#options = options;
    this.#blocks = options.blocks ?? new BlockReader(BLOCK_BYTES_KEPT);
  }

  /** @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `STORE_UNAVAILABLE`, `STATE_CORRUPT`. */
  static async open(store: BlobStore, manifest: Manifest, options: StateReaderOptions): Promise<StateReader> {
    const segments = new Map<string, StoredSegment>();
    const tasks: OpenedTask[] = [];
    for (const { task, segments: refs } of manifest.tasks) {
      const opened = await Promise.all(
        refs.map(async (ref) => {
          const key = segmentKey(ref);
          const segment = options.known?.get(key) ?? (await StoredSegment.open(store, ref));
          segments.set(key, segment);
          return segment;
        }),
      );
      tasks.push({ task, segments: opened });
    }
    return new StateReader(manifest, tasks, segments, options);
  }

  get states(): StateSummary[] {
    return this.#states.map(({ name, kind, schemas, tasks }) => ({
      name,
      kind,
      key: [...schemas.values()][0]?.key ?? typesOfFirstKey(tasks) ?? [],
      tasks: tasks.map(({ task }) => task.task),
      entries: tasks.reduce((sum, held) => sum + entriesOf(held), 0),
    }));
  }

  /**
   * @throws MillraceError `STATE_UNKNOWN`, `QUERY_KEY`, `QUERY_LIMIT` (invalid); as `open`.
   */
  async read(query: StateQuery): Promise<StateAnswer> {
    const state = this.#find(query.state);
    const { limit = LIMIT_DEFAULT } = query;
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
      throw new MillraceError(
        'invalid',
        'QUERY_LIMIT',
        `a limit is a whole number from 1 to ${LIMIT_MAX}, not ${limit}`,
      );
    }
    const answer = { checkpoint: this.checkpoint, state: state.name, kind: state.kind };
    const operator = operatorEntries(state);
    if (operator !== undefined) return { ...answer, entries: operator.slice(0, limit) };
    const types = await this.#keyTypes(state);
    if (query.key !== undefined) {
      const key = encodeQueryKey(query.key, types, false);
      const keyGroup = keyGroupOf(hashKey(key), this.#options.keyGroups);
      const walks = await this.#walks(state, keyGroup, keyGroup, key);
      const isOther = (found: Uint8Array) => compareBytes(found, key) !== 0;
      const { entries } = await this.#collect(state, walks, 1, isOther);
      return { ...answer, entries };
    }
    const from = query.from === undefined ? new Uint8Array(0) : encodeQueryKey(query.from, types, true);
    const to = query.to === undefined ? undefined : encodeQueryKey(query.to, types, true);
    const walks = await this.#walks(state, 0, this.#options.keyGroups - 1, from);
    const isBehind = (found: Uint8Array) => to !== undefined && compareBytes(found, to) >= 0;
    return { ...answer, ...(await this.#collect(state, walks, limit, isBehind)) };
  }

  #find(name: string): CatalogState {
    const exact = this.#states.filter((state) => state.name === name);
    const found = exact.length > 0 ? exact : this.#states.filter((state) => state.name.endsWith(`/${name}`));
    if (found.length === 1) return found[0] as CatalogState;
    const names = (found.length > 1 ? found : this.#states).map((state) => state.name).join(', ');
    const why =
      found.length > 1
        ? `there are several: ${names}`
        : names === ''
          ? `checkpoint ${this.checkpoint} holds no state at all`
          : `there is none; there are: ${names}`;
    throw new MillraceError('invalid', 'STATE_UNKNOWN', `state ${JSON.stringify(name)}: ${why}`, {
      context: { state: name },
    });
  }

  /** One for each table and key group that a task has of the state, from a key on. */
  async #walks(state: CatalogState, first: number, last: number, from: Uint8Array): Promise<Walk[]> {
    const wanted: { readonly held: TaskState; readonly table: string; readonly keyGroup: number }[] = [];
    for (const held of state.tasks) {
      const ranges = held.task.segments.map(({ index }) => index.range);
      const low = Math.max(first, Math.min(...ranges.map((range) => range.first)));
      const high = Math.min(last, Math.max(...ranges.map((range) => range.last)));
      for (let keyGroup = low; keyGroup <= high; keyGroup++) {
        for (const table of held.tables) wanted.push({ held, table, keyGroup });
      }
    }
    const walks: Walk[] = [];
    for (let at = 0; at < wanted.length; at += WALKS_AT_ONCE) {
      const some = wanted.slice(at, at + WALKS_AT_ONCE).map(async ({ held, table, keyGroup }) => ({
        held,
        table,
        group: await GroupWalk.open(held.task.segments, table, keyGroup, from, this.#blocks),
      }));
      walks.push(...(await Promise.all(some)));
    }
    return walks;
  }

  /** Entries of the first `limit` keys that are not behind the end, in the order of the keys. */
  async #collect(
    state: CatalogState,
    walks: readonly Walk[],
    limit: number,
    isBehind: (key: Uint8Array) => boolean,
  ): Promise<{ readonly entries: readonly StateEntry[]; readonly next?: Json }> {
    const entries: StateEntry[] = [];
    const now = this.#options.now();
    let [read, bytes] = [0, 0];
    for (let keys = 0; ; ) {
      let first: Walk | undefined;
      for (const walk of walks) {
        const key = walk.group.entry?.key;
        if (key !== undefined && (first === undefined || compareBytes(key, first.group.entry?.key as Uint8Array) < 0)) {
          first = walk;
        }
      }
      const key = first?.group.entry?.key;
      if (first === undefined || key === undefined || isBehind(key)) return { entries };
      if (keys === limit || bytes > ANSWER_BYTES_MAX) return { entries, next: keyWords(key) };
      const { held, table, group } = first;
      const ofKey = new EntriesOfKey(state, held, table, key, now);
      for (; group.entry !== undefined && compareBytes(group.entry.key, key) === 0; await group.advance()) {
        ofKey.add(group.entry);
        bytes += key.length + group.entry.sub.length + (group.entry.payload?.length ?? 0);
        if (++read % BREATH_ENTRIES === 0) await this.#options.breathe?.();
      }
      const found = ofKey.entries();
      entries.push(...found);
      if (found.length > 0) keys++;
    }
  }

  /** As declared; where nothing was, as they are in the first key there is. */
  async #keyTypes(state: CatalogState): Promise<readonly (ColumnType | null)[]> {
    const [schema] = state.schemas.values();
    if (schema !== undefined) return schema.key;
    const types = typesOfFirstKey(state.tasks);
    if (types !== undefined) return types;
    for (const { group } of await this.#walks(state, 0, this.#options.keyGroups - 1, new Uint8Array(0))) {
      if (group.entry !== undefined) return keyTypesOf(group.entry.key);
    }
    return [];
  }
}

interface Walk {
  readonly held: TaskState;
  readonly table: string;
  readonly group: GroupWalk;
}

/** Of the first block of its tables; undefined where they have none of their own, or keys that only their store can read. */
function typesOfFirstKey(tasks: readonly TaskState[]): readonly (ColumnType | null)[] | undefined {
  for (const { task, tables } of tasks) {
    for (const { index } of task.segments) {
      const block = index.blocks.find(({ state }) => tables.includes(index.states[state]?.name ?? ''));
      if (block === undefined) continue;
      try {
        return keyTypesOf(block.key);
      } catch {
        return undefined;
      }
    }
  }
  return undefined;
}

function entriesOf({ task, tables, values }: TaskState): number {
  let entries = values.length;
  for (const { index } of task.segments) {
    index.states.forEach(({ name }, at) => {
      if (tables.includes(name)) entries += index.sizes[at]?.entries ?? 0;
    });
  }
  return entries;
}

/**
 * One query of one checkpoint, without its job.
 * @throws MillraceError as `StateReader`.
 */
export async function readState(
  store: BlobStore,
  manifest: Manifest,
  query: StateQuery,
  options: Pick<StateReaderOptions, 'keyGroups' | 'now'>,
): Promise<StateAnswer> {
  const reader = await StateReader.open(store, manifest, options);
  return await reader.read(query);
}
