import { type ByteFiles, MillraceError } from '../../base/index.js';
import type { KeyGroups } from '../../checkpoint/index.js';
import { BaseFinder } from '../host/base-entries.js';
import {
  type BaseRecord,
  type CoveredRange,
  type Line,
  type LineOf,
  readBaseRecord,
  within,
} from '../host/base-record.js';
import { BaseSource, type BaseState } from '../host/base-source.js';
import type { BaseSnapshot, BaseStore, BaseStores } from '../host/base-store.js';
import { checkedReader } from '../host/checked-base.js';
import { basePath } from '../host/overlay-files.js';
import { ENTRY, NOTHING } from '../host/overlay-segment.js';
import { hashEntry } from '../tables/entry-hash.js';
import { ABSENT, AWAY, type ColdAnswer, type ColdState, type ColdTable, FOUND } from './cold-state.js';
import type { EntrySelection, EntrySource } from './entry-source.js';
import { ListSource } from './list-source.js';
import { EntryMerge } from './merge-entries.js';
import type { RemoteState } from './remote-state.js';
import { type SegmentBlocks, SegmentSource } from './segment-source.js';
import { StateRanks } from './state-ranks.js';
import type { ViewDescription } from './view-description.js';
import { ViewLayers } from './view-layers.js';
import { ViewTable } from './view-table.js';

export interface StateViewOptions {
  readonly bases: BaseStores;
  readonly files: ByteFiles;
  /** Key groups that are asked for. */
  readonly range: KeyGroups;
  /** Where the rest is, as long as this host does not have all of them. */
  readonly remote?: RemoteState;
  /** See `warm`. Default 64 MiB. */
  readonly indexBytesMax?: number;
}

/** An entry as a walk shows it: valid until the next. */
export interface ViewEntry {
  readonly keyGroup: number;
  readonly state: string;
  /** How the payload is to be read: of the state, as its segment had it. */
  readonly meta: Uint8Array;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  readonly payload: Uint8Array;
}

// What a key group's layers stand on.
const NOWHERE = 0;
const BASE = 1;
const REMOTE = 2;

const indexBytesMaxDefault = 64 * 2 ** 20;
const none = new Uint8Array(0);

/**
 * State at a completed checkpoint N: `view(N)` = the base at its fold line F, and above it the segments of the checkpoints
 * after F up to N, the newest first. Restore, rescale, queries and tasks whose tables let go of entries all read this.
 *
 * Why it is right while the base is folded, up to T > F: any key whose state changed between F and T is in a segment of that
 * time; all of those are above the base as long as F is its line; and the topmost that has a key counts. So what the base
 * says of such a key is never asked for. Of all other keys, the base says the same at F and at T. A view therefore needs a
 * snapshot whose lines are no higher than N, and every segment above them: it is refused otherwise.
 *
 * Where the base has nothing of a key group, a remote state takes its place: at some checkpoint before N, with the segments
 * since then, which are on this host, above it.
 */
export class StateView implements ColdState {
  readonly #options: StateViewOptions;
  readonly #root: string;
  #store: BaseStore;
  #isClosed = false;
  readonly #tables = new Map<string, ViewTable>();
  #snapshot: BaseSnapshot;
  #finder: BaseFinder;
  #line: Line;
  #layers: ViewLayers;
  #record: BaseRecord;
  /** Of each key group from `range.first` on: what its layers stand on, and the position of the oldest. */
  #grounds = new Int8Array(0);
  #oldest = new Int32Array(0);
  #isLocal = false;

  private constructor(options: StateViewOptions, root: string, store: BaseStore, line: Line) {
    this.#options = options;
    this.#root = root;
    this.#store = store;
    this.#line = line;
    this.#layers = ViewLayers.empty(options.indexBytesMax ?? indexBytesMaxDefault);
    this.#snapshot = store.snapshot();
    this.#finder = new BaseFinder(this.#snapshot);
    this.#record = readBaseRecord(this.#snapshot);
  }

  /**
   * Reads a few pages, however large the state is.
   * @throws MillraceError `VIEW_PASSED` (unavailable) when the base has gone on to later checkpoints: ask for a newer
   *   description; `SEGMENT_CORRUPT`, `BASE_DAMAGED` (corrupt), `BASE_UNAVAILABLE`, `DISK_NOT_FOUND` (unavailable).
   */
  static async open(description: ViewDescription, options: StateViewOptions): Promise<StateView> {
    const store = await openChecked(options.bases, basePath(description.root));
    const view = new StateView(options, description.root, store, description.line);
    try {
      view.#layers = view.#layers.next(options.files, description, options.range);
      view.#settle(description);
      return view;
    } catch (thrown) {
      await view.close();
      throw thrown;
    }
  }

  get line(): Line {
    return this.#line;
  }

  get range(): KeyGroups {
    return this.#options.range;
  }

  get isLocal(): boolean {
    return this.#isLocal;
  }

  /** Of indexes in memory. */
  get indexBytes(): number {
    return this.#layers.indexBytes;
  }

  /**
   * Goes on to a later checkpoint, or to the same with more of it folded or fetched. Files that are open already are not opened
   * again. When it throws, the view is what it was. @throws as `open`; `VIEW_PASSED` also when key groups are not on this host
   * any more that were there: the view goes on to have them, as they were.
   */
  advance(description: ViewDescription): void {
    const before = { snapshot: this.#snapshot, record: this.#record, line: this.#line, layers: this.#layers };
    const layers = before.layers.next(this.#options.files, description, this.range);
    this.#snapshot = this.#store.snapshot();
    try {
      this.#record = readBaseRecord(this.#snapshot);
      this.#line = description.line;
      this.#layers = layers;
      this.#settle(description);
    } catch (thrown) {
      this.#snapshot.release();
      layers.close(before.layers);
      this.#snapshot = before.snapshot;
      this.#record = before.record;
      this.#line = before.line;
      this.#layers = before.layers;
      throw thrown;
    }
    before.snapshot.release();
    before.layers.close(layers);
  }

  /** The same, on the base that is there now: the folder may have been thrown away, and begun anew, since this view was opened. */
  async reopen(description: ViewDescription): Promise<void> {
    const store = await openChecked(this.#options.bases, basePath(description.root));
    const before = this.#store;
    try {
      if (this.#isClosed) return;
      this.#store = store;
      this.advance(description);
    } catch (thrown) {
      this.#store = before;
      throw thrown;
    } finally {
      await (this.#store === store ? before : store).close();
    }
  }

  /**
   * Brings one more index of a segment into memory, newest first, as far as there is room (`indexBytesMax`): then a miss
   * there reads no file. Of the others a page is read for every look. False when there is nothing left to do; otherwise to be
   * called again, whenever there is time.
   */
  warm(): boolean {
    return this.#layers.warm();
  }

  table(state: string): ColdTable {
    let table = this.#tables.get(state);
    if (table === undefined) {
      table = new ViewTable(state, this.#find);
      this.#tables.set(state, table);
      this.#place(table);
    }
    return table;
  }

  /** All that may have entries on this host, each as its newest segment had it. */
  states(): BaseState[] {
    const states = new Map<string, BaseState>();
    const layers = this.#layers.all.flatMap(({ segment }) => segment.head.states);
    for (const { name, meta } of [...this.#record.states, ...layers]) states.set(name, { name, meta });
    return [...states.values()];
  }

  ready(keyGroup: number, key: Uint8Array): Promise<void> | undefined {
    if (this.#isLocal || this.#groundOf(keyGroup) !== REMOTE) return undefined;
    return this.#options.remote?.fetch(keyGroup, key);
  }

  letGo(): void {
    this.#options.remote?.letGo();
  }

  /**
   * Entries in order of (key group, name of the state, key, sub key), without removed ones. Those of other hosts are
   * fetched as they are needed. @throws MillraceError `STATE_AWAY`, `STORE_UNAVAILABLE`, `SEGMENT_CORRUPT`.
   */
  async *entries(selection: { readonly range?: KeyGroups; readonly state?: string } = {}): AsyncGenerator<ViewEntry> {
    const { state } = selection;
    const range = within(selection.range ?? this.range, this.range);
    if (range === undefined) return;
    for (const run of this.#runs(range)) {
      const isRemote = this.#groundOf(run.first) === REMOTE;
      const fetched = isRemote ? await this.#options.remote?.open(run) : undefined;
      const beneath = fetched?.map(({ blocks }) => blocks);
      const { merge, ranks } = this.#merge({ range: run }, state, beneath);
      try {
        for (;;) {
          const found = merge.next();
          if (!(typeof found === 'boolean' ? found : await found)) break;
          if (!merge.isRemoved) yield entryOf(merge.entry, ranks);
        }
      } finally {
        merge.close();
      }
    }
  }

  /** All sub keys of one key, in order. @throws MillraceError `STATE_AWAY` (unavailable) unless `ready` was waited for. */
  *entriesOf(state: string, keyGroup: number, key: Uint8Array): Generator<ViewEntry> {
    const { merge, ranks } = this.#merge({ range: { first: keyGroup, last: keyGroup }, key }, state);
    try {
      while (merge.next()) if (!merge.isRemoved) yield entryOf(merge.entry, ranks);
    } finally {
      merge.close();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#snapshot.release();
    this.#layers.close();
    await this.#store.close();
  }

  readonly #find = (table: ViewTable, keyGroup: number, key: Uint8Array, sub: Uint8Array): ColdAnswer => {
    const at = keyGroup - this.#options.range.first;
    const ground = this.#grounds[at];
    const oldest = this.#oldest[at] as number;
    const layers = this.#layers;
    let layer = layers.length - 1;
    if (layer >= oldest) {
      const hash = hashEntry(table.hash, key, sub);
      for (; layer >= oldest; layer--) {
        if (keyGroup < (layers.firsts[layer] as number) || keyGroup > (layers.lasts[layer] as number)) continue;
        const segment = layers.segment(layer);
        const state = table.positions[layer] as number;
        const answer = state < 0 ? NOTHING : segment.find(keyGroup, state, key, sub, hash);
        if (answer === ENTRY) {
          table.show(segment.bytes, segment.start, segment.end, segment.head.states[state]?.meta ?? none);
          return FOUND;
        }
        if (answer !== NOTHING || segment.head.full) return ABSENT;
      }
    }
    if (ground !== BASE) return this.#findAway(table, keyGroup, key, sub);
    const finder = this.#finder;
    for (const number of table.numbers) {
      if (!finder.find(keyGroup, number, key, sub)) continue;
      table.show(finder.bytes, finder.start, finder.end, this.#record.states[number]?.meta ?? none);
      return FOUND;
    }
    return ABSENT;
  };

  #findAway(table: ViewTable, keyGroup: number, key: Uint8Array, sub: Uint8Array): ColdAnswer {
    const { remote } = this.#options;
    if (remote === undefined || this.#groundOf(keyGroup) !== REMOTE) return AWAY;
    const answer = remote.find(table.state, keyGroup, key, sub);
    if (answer === FOUND) table.show(remote.bytes, remote.start, remote.end, remote.meta);
    return answer;
  }

  #groundOf(keyGroup: number): number {
    return this.#grounds[keyGroup - this.#options.range.first] ?? NOWHERE;
  }

  /** After snapshot, record, line and layers have changed. */
  #settle({ ranges: described, floors }: ViewDescription): void {
    const { range, remote } = this.#options;
    const keyGroups = range.last - range.first + 1;
    const grounds = new Int8Array(keyGroups).fill(remote === undefined ? NOWHERE : REMOTE);
    const oldest = new Int32Array(keyGroups).fill(this.#layers.above(remote?.line.checkpointId ?? 0));
    for (const floor of floors) {
      const part = within(floor, range);
      // What changed in between is nowhere.
      if (part === undefined || floor.line.checkpointId <= (remote?.line.checkpointId ?? 0)) continue;
      grounds.fill(NOWHERE, part.first - range.first, part.last - range.first + 1);
      oldest.fill(this.#layers.length, part.first - range.first, part.last - range.first + 1);
    }
    const checksums = new Set(this.#layers.all.map(({ entry }) => entry.checksum));
    for (const covered of this.#record.ranges) {
      const part = within(covered, range);
      if (part === undefined || covered.isFilling === true) continue;
      this.#check(part, described, floors, checksums);
      const [from, to] = [part.first - range.first, part.last - range.first + 1];
      grounds.fill(BASE, from, to);
      oldest.fill(this.#layers.above(part.line.checkpointId), from, to);
    }
    const lost = this.#grounds.findIndex((ground, at) => ground !== NOWHERE && grounds[at] === NOWHERE);
    if (lost >= 0) throw this.#passed(`key group ${range.first + lost} is not there any more`);
    this.#grounds = grounds;
    this.#oldest = oldest;
    this.#isLocal = grounds.every((ground) => ground === BASE);
    this.#finder = new BaseFinder(this.#snapshot);
    for (const table of this.#tables.values()) this.#place(table);
    remote?.forget((keyGroup) => this.#groundOf(keyGroup) === BASE);
  }

  /** A range of the base can stand beneath these layers. */
  #check(
    part: CoveredRange,
    described: readonly CoveredRange[],
    floors: readonly LineOf[],
    checksums: ReadonlySet<string>,
  ): void {
    const passed =
      part.line.checkpointId > this.#line.checkpointId ||
      part.fold?.segments.some((checksum) => !checksums.has(checksum)) === true;
    // The snapshot is from before the description, or of a base that was thrown away: segments may be missing that were dropped
    // in between, or were never kept.
    const isPast = (then: LineOf) =>
      within(then, part) !== undefined && then.line.checkpointId > part.line.checkpointId;
    const stale = described.some((then) => then.isFilling !== true && isPast(then)) || floors.some(isPast);
    if (!passed && !stale) return;
    throw this.#passed(`key groups ${part.first}..${part.last} are at checkpoint ${part.line.checkpointId}`);
  }

  #passed(what: string): MillraceError {
    const view = this.#line.checkpointId;
    const message = `${this.#root}: ${what}, which a view of checkpoint ${view} cannot use`;
    return new MillraceError('unavailable', 'VIEW_PASSED', message, { context: { view } });
  }

  #place(table: ViewTable): void {
    table.positions = Int32Array.from(this.#layers.all, ({ segment }) =>
      segment.head.states.findIndex(({ name }) => name === table.state),
    );
    table.numbers = this.#record.states.flatMap(({ name }, number) => (name === table.state ? [number] : [])).reverse();
  }

  /** Parts of a range, each of key groups that stand on the same. */
  *#runs(range: KeyGroups): Generator<KeyGroups> {
    const { remote } = this.#options;
    for (let first = range.first; first <= range.last; ) {
      const at = first - this.range.first;
      const ground = this.#grounds[at];
      const end = ground === REMOTE ? (remote?.runFrom(first)?.last ?? first) : range.last;
      let last = first;
      while (last < Math.min(end, range.last)) {
        const next = last + 1 - this.range.first;
        if (this.#grounds[next] !== ground || this.#oldest[next] !== this.#oldest[at]) break;
        last++;
      }
      yield { first, last };
      first = last + 1;
    }
  }

  /** Of key groups that stand on the same; `remote`: on these. */
  #merge(
    selection: Omit<EntrySelection, 'rank'>,
    state: string | undefined,
    remote: readonly SegmentBlocks[] = [],
  ): { readonly merge: EntryMerge; readonly ranks: StateRanks } {
    const { range } = selection;
    const layers = this.#layers.all
      .slice(this.#oldest[range.first - this.range.first] ?? 0)
      .filter(({ entry }) => within(entry, range) !== undefined);
    const ranks = new StateRanks([
      ...this.#record.states.map(({ name }) => name),
      ...[...remote, ...layers.map(({ segment }) => segment)].flatMap((blocks) => statesOf(blocks)),
      ...(state === undefined ? [] : [state]),
    ]);
    const wanted = state === undefined ? selection : { ...selection, rank: ranks.of(state) };
    const sources: EntrySource[] = [];
    if (this.#groundOf(range.first) === BASE) {
      for (const states of generations(this.#record.states)) {
        sources.push(new BaseSource(this.#snapshot, sources.length, states, ranks, wanted));
      }
    } else if (selection.key !== undefined && state !== undefined) {
      sources.push(this.#fetched(state, range.first, selection.key, ranks.of(state)));
    } else {
      for (const blocks of remote) sources.push(new SegmentSource(blocks, sources.length, ranks, wanted));
    }
    for (const { segment } of layers) sources.push(new SegmentSource(segment, sources.length, ranks, wanted));
    return { merge: new EntryMerge(sources), ranks };
  }

  #fetched(state: string, keyGroup: number, key: Uint8Array, rank: number): ListSource {
    const entries = this.#options.remote?.entriesOf(state, keyGroup, key);
    if (entries !== undefined) return new ListSource(0, keyGroup, rank, key, entries);
    throw new MillraceError('unavailable', 'STATE_AWAY', `key group ${keyGroup} is not on this host yet`, {
      context: { keyGroup },
    });
  }
}

async function openChecked(bases: BaseStores, path: string): Promise<BaseStore> {
  return checkedReader(path, await bases.openReader(path));
}

function statesOf(blocks: SegmentBlocks): string[] {
  return blocks.index.states.map(({ name }) => name);
}

/** States in sets of which each has a name at most once, those of older metas first. */
function generations(states: readonly BaseState[]): (BaseState & { readonly id: number })[][] {
  const sets: (BaseState & { readonly id: number })[][] = [];
  states.forEach((state, id) => {
    const older = states.slice(0, id).filter(({ name }) => name === state.name).length;
    const set = sets[older] ?? [];
    set.push({ ...state, id });
    sets[older] = set;
  });
  return sets;
}

function entryOf(source: EntrySource, ranks: StateRanks): ViewEntry {
  const { keyGroup, rank, meta, bytes, keyStart, keyEnd, subEnd, payloadEnd } = source;
  return {
    keyGroup,
    state: ranks.names[rank] as string,
    meta,
    key: bytes.subarray(keyStart, keyEnd),
    sub: bytes.subarray(keyEnd, subEnd),
    payload: bytes.subarray(subEnd, payloadEnd),
  };
}
