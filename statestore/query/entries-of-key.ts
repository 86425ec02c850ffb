import { decodeKeyValues } from '../../base/columnar/index.js';
import { describeEntry } from '../segment/describe-entry.js';
import type { WalkedEntry } from '../segment/segment-walk.js';
import { fingerprintOfCell, valueOfCell } from '../states/cell.js';
import { expiryOf } from '../states/expiry.js';
import { decodeBlobs } from '../states/operator-blob.js';
import { ownerOf } from '../states/operator-owners.js';
import type { LanesShape } from '../states/state-schema.js';
import type { CatalogState, TaskState } from './state-catalog.js';
import { CellWords, type Json, jsonOf, keyWords } from './state-words.js';

/**
 * One key of a keyed state, one owner of one that is not, as JSON says it. `key`: the values of its columns. By kind:
 *
 *     value, reducing, aggregating   value: it (of aggregating what is kept, not what `result` makes of it)
 *     list                           value: [elements]
 *     map, broadcast                 value: [[map key, value] ..]
 *     aggregates                     value: {name: its lane, or [lanes]}
 *     operatorList                   subtask, parallelism, value: [elements]
 *     lanes, bytes, timers           of each entry namespace and value: [lanes]; sub and value; time and namespace
 *     operator                       task, value
 *
 * Values are as they were written, under the schema of then. What nobody knows how to read is {"base64": ".."}.
 */
export type StateEntry = { readonly [field: string]: Json };

/** Of one key so many entries at most: the rest of a larger map or list is left out, and `truncated` says so. */
const ENTRIES_MAX = 10_000;

/** Gathers the entries of one key. */
export class EntriesOfKey {
  readonly #state: CatalogState;
  readonly #held: TaskState;
  readonly #table: string;
  readonly #key: Json;
  readonly #now: number;
  readonly #words: CellWords;
  readonly #found: { readonly json: Json; readonly expiresAt: number }[] = [];
  readonly #plain: StateEntry[] = [];
  #truncated = false;

  constructor(state: CatalogState, held: TaskState, table: string, key: Uint8Array, now: number) {
    this.#state = state;
    this.#held = held;
    this.#table = table;
    this.#key = keyWords(key);
    this.#now = now;
    this.#words = new CellWords(state.name, state.schemas);
  }

  add({ sub, payload }: WalkedEntry): void {
    if (this.#found.length + this.#plain.length >= ENTRIES_MAX) {
      this.#truncated = true;
      return;
    }
    const { kind } = this.#state;
    const meta = this.#metaOf();
    const described = describeEntry(meta, sub, payload);
    if (kind === 'lanes' || kind === 'timers' || kind === 'bytes') {
      this.#plain.push({ key: this.#key, ...(jsonOf(described) as object) });
      return;
    }
    if (kind === 'aggregates') {
      const lanes = described.value as readonly number[];
      const { aggregates } = this.#shapeOfTable();
      let lane = 0;
      const value: Record<string, Json> = {};
      for (const { name, lanes: count } of aggregates) {
        value[name] = jsonOf(count === 1 ? lanes[lane] : lanes.slice(lane, lane + count));
        lane += count;
      }
      this.#keep(value, lanes[lane] as number);
      return;
    }
    if (kind === 'list' && sub.length === 0) return;
    const { value, stamp } = this.#words.read(described.value as Uint8Array);
    this.#keep(kind === 'map' ? [mapKeyWords(sub), value] : value, stamp);
  }

  /** None when all of them have expired. */
  entries(): StateEntry[] {
    const truncated = this.#truncated ? { truncated: true } : {};
    if (this.#plain.length > 0) return this.#plain.map((entry) => ({ ...entry, ...truncated }));
    const [first] = this.#found;
    if (first === undefined) return [];
    const { kind } = this.#state;
    if (kind === 'list' || kind === 'map') {
      return [{ key: this.#key, value: this.#found.map(({ json }) => json), ...truncated }];
    }
    const expires = Number.isFinite(first.expiresAt) ? { expiresAt: first.expiresAt } : {};
    return [{ key: this.#key, value: first.json, ...expires }];
  }

  #keep(json: Json, stamp: number): void {
    const expiresAt = expiryOf(stamp, this.#held.ttl);
    if (expiresAt > this.#now) this.#found.push({ json, expiresAt });
  }

  #metaOf() {
    for (const { index } of this.#held.task.segments) {
      const state = index.states.find(({ name }) => name === this.#table);
      if (state !== undefined) return state;
    }
    return { name: this.#table, meta: new Uint8Array(0), value: undefined };
  }

  #shapeOfTable(): LanesShape {
    const fingerprint = Number.parseInt(this.#table.slice(-6), 16);
    return this.#state.schemas.get(fingerprint)?.value as LanesShape;
  }
}

function mapKeyWords(sub: Uint8Array): Json {
  return jsonOf(decodeKeyValues(sub)[0]);
}

/** Of a state that is not keyed: what each owner has; undefined for a keyed one. */
export function operatorEntries({ name, kind, schemas, tasks }: CatalogState): StateEntry[] | undefined {
  if (kind === 'operator') {
    return tasks.flatMap(({ task, values }) => values.map(({ value }) => ({ task: task.task, value: jsonOf(value) })));
  }
  if (kind !== 'operatorList' && kind !== 'broadcast') return undefined;
  const words = new CellWords(name, schemas);
  const owned = tasks.flatMap(({ values }) =>
    values.map(({ name: of, value }) => {
      const { subtask = 0, parallelism = 0 } = ownerOf(of) ?? {};
      const fingerprint = fingerprintOfCell(value);
      const blobs = decodeBlobs(valueOfCell(value));
      const items =
        kind === 'operatorList'
          ? blobs.map((blob) => words.value(fingerprint, blob))
          : blobs.flatMap((key, i) =>
              i % 2 === 1 ? [] : [[mapKeyWords(key), words.value(fingerprint, blobs[i + 1] as Uint8Array)]],
            );
      return { subtask, parallelism, value: items };
    }),
  );
  owned.sort((a, b) => a.subtask - b.subtask);
  // It is the same on all of them.
  return kind === 'broadcast' ? owned.slice(0, 1).map(({ value }) => ({ value })) : owned;
}
