import {
  assert,
  type ByteFiles,
  type Clock,
  checksumHex,
  type Disk,
  type Logger,
  MillraceError,
  type Random,
  sleep,
} from '../../base/index.js';
import { describeSegment, type KeyGroups, LoadedSegment } from '../../checkpoint/index.js';
import type { RemotePart, RemoteState } from '../view/remote-state.js';
import type { OverlayEntry, ViewDescription } from '../view/view-description.js';
import {
  beginning,
  type CoveredRange,
  type Line,
  type LineOf,
  replaced,
  sameLine,
  uncovered,
  within,
  withRange,
} from './base-record.js';
import type { BaseStores } from './base-store.js';
import { clearSome, Fold, type FoldInput } from './fold.js';
import { FolderBase } from './folder-base.js';
import { FolderFiles } from './folder-files.js';
import { confirm, type FolderList, type History } from './folder-list.js';
import { buildOverlayIndex } from './overlay-index-format.js';

export interface FolderSettings {
  /** Segments above the base before it is folded. Default 16. */
  readonly segmentsMax: number;
  /** Likewise entries: each costs some 8 bytes of memory in those who look. Default 4 million. */
  readonly entriesMax: number;
  /** Share of one core that folding may take, 1 for all of it. Default 0.5. */
  readonly foldShare: number;
  /** How long one of its transactions may take, and the most entries it brings in. Default 8, and 8192. */
  readonly transactionMs: number;
  readonly transactionEntriesMax: number;
}

const defaults: FolderSettings = Object.freeze({
  segmentsMax: 16,
  entriesMax: 4_000_000,
  foldShare: 0.5,
  transactionMs: 8,
  transactionEntriesMax: 8192,
});

export interface StateFolderOptions {
  /** The folder; one process at a time has it open. */
  readonly root: string;
  readonly disk: Disk;
  readonly files: ByteFiles;
  readonly bases: BaseStores;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Tells this boot from others: what was not synced is lost with the page cache. */
  readonly bootId: string;
  /** From HEAD, as read now. */
  readonly history: History;
  /** What HEAD's newest checkpoint has of the operator: needed when a checkpoint completed that this folder was not told of. */
  readonly parts?: readonly RemotePart[];
  readonly settings?: Partial<FolderSettings>;
  /** What is there is not to be trusted. */
  readonly anew?: boolean;
}

/** A segment of a checkpoint that has completed, as the manifest has it, of a task on this host. */
export interface CompletedSegment extends KeyGroups {
  readonly checksum: string;
}

const everything: KeyGroups = { first: 0, last: 0xffff };

/**
 * What a host keeps of one operator's keyed state, so that its tasks, old, new and of other ranges, start where they stopped
 * without copying anything: a base, and the segments of completed checkpoints that are not in the base yet. In the daemon, on a
 * thread of its own; workers read it through `StateView`.
 *
 *     ROOT/base                      LMDB: entries, and what it covers (`base-record.ts`)
 *     ROOT/segments/CHECKSUM         a segment, as a task took it; CHECKSUM.index beside it
 *     ROOT/list                      the completed ones of those (`folder-list.ts`), and the newest completed checkpoint
 *     ROOT/mark                      `clean`, and the length of the base: synced after its last change; otherwise the boot that changed it
 *
 * It is a cache: everything is in the checkpoint store as well. What cannot be trusted, because the machine lost power while
 * the base was written, or because HEAD does not confirm it, is given up and fetched anew (`hydrate`).
 *
 * Of key groups that the base covers, or that are fetched, the folder has the segment of every checkpoint that completes;
 * where one is missing, the key groups are given up.
 *
 * `fold` and `hydrate` must not overlap each other; other calls must not overlap each other, but may either of those.
 */
export class StateFolder {
  readonly #options: StateFolderOptions;
  readonly #settings: FolderSettings;
  readonly #files: FolderFiles;
  readonly #base: FolderBase;
  #list: FolderList;
  /** Of checkpoints that may complete yet. */
  readonly #held = new Map<string, OverlayEntry>();
  #closed = false;
  /** The list, as it is written. */
  #written: Promise<unknown> = Promise.resolve();
  /** Key groups whose tasks are on this host: what is above the base of others is of no use. */
  #owned: readonly KeyGroups[] = [everything];

  private constructor(options: StateFolderOptions, files: FolderFiles, base: FolderBase, list: FolderList) {
    this.#options = options;
    this.#settings = { ...defaults, ...options.settings };
    this.#files = files;
    this.#base = base;
    this.#list = list;
  }

  /** Opens it, or makes it. @throws MillraceError `BASE_UNAVAILABLE`; `Disk` errors. */
  static async open(options: StateFolderOptions): Promise<StateFolder> {
    const { bases, bootId, logger, root, history } = options;
    const files = new FolderFiles(options);
    const list = await files.readList();
    const isTrusted = list !== undefined && options.anew !== true;
    const base = isTrusted ? await FolderBase.open(bases, files, bootId) : undefined;
    if (list !== undefined && base !== undefined) {
      const folder = new StateFolder(options, files, base, list);
      if (await folder.#restore()) return folder;
      await base.close();
    }
    if (list !== undefined) logger.info({ root }, 'local state cannot be used: it is thrown away');
    await files.clear();
    const line = history.latest ?? beginning;
    const fresh: FolderList = { observed: history.latest, segments: [], floors: [{ ...everything, line }] };
    const folder = new StateFolder(options, files, await FolderBase.create(bases, files, bootId), fresh);
    await files.writeList(fresh);
    return folder;
  }

  /** For readers. */
  describe(): ViewDescription {
    const { observed = beginning, segments, floors } = this.#list;
    return { root: this.#options.root, line: observed, segments, floors, ranges: this.#base.record.ranges };
  }

  /** Key groups, of some, whose state is not in the base. */
  missing(range: KeyGroups): KeyGroups[] {
    return uncovered(
      range,
      this.#base.record.ranges.filter(({ isFilling }) => isFilling !== true),
    );
  }

  /** These key groups have no state yet: no checkpoint ever completed. */
  async startEmpty(range: KeyGroups): Promise<void> {
    assert(this.#list.observed === undefined, 'there is a checkpoint to start from');
    for (const keyGroups of this.missing(range)) {
      const empty = { ...keyGroups, line: beginning, folded: [] };
      await this.#base.changeRecord((record) => withRange(record, keyGroups, empty));
    }
    await this.#base.settle();
  }

  /**
   * Keeps a segment that a task took. It counts for nothing until its checkpoint has completed.
   * @returns its checksum. @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_TOO_LARGE`; `Disk` errors.
   */
  async hold(segment: Uint8Array, index: Uint8Array = buildOverlayIndex(segment)): Promise<string> {
    const { checksum, first, last, full, length: bytes } = describeSegment(segment);
    const { checkpointId, entries } = new LoadedSegment(segment).index;
    await this.#files.writeSegment(checksum, segment, index);
    this.#held.set(checksum, { checksum, first, last, full, bytes, entries, line: { checkpointId, epoch: 0 } });
    return checksum;
  }

  /**
   * A checkpoint is in HEAD: from now on `describe` is of it. `segments`: what it has of the tasks on this host. Those that are
   * not held leave a gap: their key groups are given up. `unchanged`: key groups of tasks here that have finished.
   * @returns key groups that were given up.
   */
  async completed(
    line: Line,
    segments: readonly CompletedSegment[],
    unchanged: readonly KeyGroups[] = [],
  ): Promise<KeyGroups[]> {
    const added: OverlayEntry[] = [];
    for (const { checksum } of segments) {
      const held = this.#held.get(checksum);
      if (held !== undefined) added.push({ ...held, line });
    }
    this.#owned = [...segments, ...unchanged].map(({ first, last }) => ({ first, last }));
    const gaps = uncovered(everything, [...added, ...unchanged]);
    const lost = this.#base.record.ranges.flatMap((range) => gaps.flatMap((gap) => within(gap, range) ?? []));
    await this.#base.giveUp(lost);
    const floors = gaps.reduce((rest, gap) => replaced(rest, gap, { ...gap, line }), this.#list.floors);
    const obsolete = [...this.#held.values()].filter((held) => held.line.checkpointId <= line.checkpointId);
    for (const { checksum } of added) this.#held.delete(checksum);
    await this.#replaceList({ observed: line, segments: [...this.#list.segments, ...added], floors });
    await this.#discard(obsolete.filter(({ checksum }) => this.#held.has(checksum)));
    if (lost.length > 0) await this.#base.settle();
    return lost;
  }

  /** The checkpoint will never complete. */
  async aborted(checkpointId: number): Promise<void> {
    await this.#discard([...this.#held.values()].filter((held) => held.line.checkpointId === checkpointId));
  }

  /** Whether there is enough above the base for a fold to be worth it. */
  get isFoldDue(): boolean {
    const { segments } = this.#list;
    // Those of one checkpoint stand beside each other.
    const deep = new Set(segments.map(({ line }) => line.checkpointId)).size;
    const entries = segments.reduce((sum, segment) => sum + segment.entries, 0);
    return deep >= this.#settings.segmentsMax || entries >= this.#settings.entriesMax;
  }

  /**
   * Brings the base to the newest completed checkpoint, at its own pace. Whoever reads meanwhile sees nothing of it.
   * @returns entries brought in. @throws as `Fold.step`: then nothing is lost, and it can be called again.
   */
  async fold(): Promise<number> {
    const { observed } = this.#list;
    if (observed === undefined) return 0;
    // Dead readers would pin every page that is replaced from here on.
    this.#base.store.checkReaders();
    let entries = 0;
    for (const range of this.#base.record.ranges) {
      if (range.line.checkpointId >= observed.checkpointId || range.isFilling === true) continue;
      for (const keyGroups of this.#cut(range)) {
        // Some may have been given up meanwhile.
        if (this.missing(keyGroups).length > 0) continue;
        entries += await this.#foldRange(range, keyGroups, observed);
      }
    }
    await this.#sweep();
    await this.#base.settle();
    await this.#dropFolded();
    return entries;
  }

  /**
   * Fetches key groups that are not here. They are used once all are, by whoever asks for a description then.
   * @throws MillraceError `STORE_UNAVAILABLE`, `SEGMENT_CORRUPT` and as `fold`: then it can be called again.
   */
  async hydrate(keyGroups: KeyGroups, remote: RemoteState): Promise<void> {
    for (const part of this.missing(keyGroups)) {
      for (let first = part.first; first <= part.last; ) {
        const run = remote.runFrom(first);
        if (run === undefined) break;
        const wanted = { first, last: Math.min(run.last, part.last) };
        if (this.#hasAllSince(wanted, remote.line)) {
          await this.#base.giveUp([wanted]);
          await this.#run(wanted, remote.line, await remote.open(wanted), true);
        }
        first = wanted.last + 1;
      }
    }
    await this.#base.settle();
  }

  /** After the death of a process that may have had views open. @returns how many readers it left. */
  checkReaders(): number {
    return this.#base.store.checkReaders();
  }

  /** A fold, or a `hydrate`, ends with its current step, with an error. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#written.catch(() => {});
    await this.#base.close();
  }

  // Opening.

  /** False when nothing of it can be used. */
  async #restore(): Promise<boolean> {
    const { history, logger, root } = this.#options;
    const { latest } = history;
    const { observed, segments, floors } = this.#list;
    const { ranges } = this.#base.record;
    const lines = [...segments, ...ranges].map(({ line }) => line);
    const confirmed = confirm({ observed, lines }, history);
    logger.debug({ root, confirmed, observed: observed?.checkpointId ?? 0 }, 'local state');
    if (confirmed === 'foreign') return false;
    const isRolledBack = (line: Line) => latest !== undefined && line.checkpointId > latest.checkpointId;
    this.#list = {
      observed,
      segments: segments.filter(({ line }) => !isRolledBack(line)),
      // Ids of checkpoints are given again: of the new ones after `latest`, nothing was missed.
      floors: floors.map((floor) =>
        latest !== undefined && isRolledBack(floor.line) ? { ...floor, line: latest } : floor,
      ),
    };
    await this.#findFiles();
    const isUsable = ({ line, fold, isFilling }: CoveredRange) =>
      isFilling !== true && !isRolledBack(line) && (fold === undefined || !isRolledBack(fold.line));
    await this.#lose(this.#base.record.ranges.filter((range) => !isUsable(range)));
    const added = confirmed === 'behind' && latest !== undefined ? await this.#catchUp(latest) : [];
    if (!sameLine(observed, latest) || added.length > 0 || this.#list.segments.length !== segments.length) {
      await this.#replaceList({ ...this.#list, observed: latest, segments: [...this.#list.segments, ...added] });
    }
    await this.#base.settle();
    return true;
  }

  /** Key groups are given up where files that the list names are gone; files that it does not name may be held ones. */
  async #findFiles(): Promise<void> {
    const there = await this.#files.segments();
    const { segments } = this.#list;
    const lost = segments.filter(({ checksum }) => !there.has(checksum)).flatMap((segment) => this.#unpassed(segment));
    this.#list = { ...this.#list, segments: segments.filter(({ checksum }) => there.has(checksum)) };
    await this.#lose(lost);
    const incomplete = this.#base.record.ranges.filter(
      ({ fold }) => fold?.segments.some((checksum) => !there.has(checksum)) === true,
    );
    await this.#lose(incomplete);
    const listed = new Set(segments.map(({ checksum }) => checksum));
    for (const checksum of there) {
      if (listed.has(checksum)) continue;
      const held = this.#files.describeSegment(checksum);
      if (held === undefined) await this.#files.removeSegment(checksum);
      else this.#held.set(checksum, held);
    }
  }

  /** Key groups are given up; whatever is fetched of them must be of the newest checkpoint known, or later. */
  async #lose(ranges: readonly KeyGroups[]): Promise<void> {
    await this.#base.giveUp(ranges);
    const line = this.#options.history.latest ?? beginning;
    const floors = ranges.reduce(
      (rest, { first, last }) => replaced(rest, { first, last }, { first, last, line }),
      this.#list.floors,
    );
    this.#list = { ...this.#list, floors };
  }

  /**
   * HEAD went on by one checkpoint while nobody told us: as a rule the process died between the two. What that checkpoint has
   * above the last segment known here must be held; other key groups are given up.
   */
  async #catchUp(latest: Line): Promise<OverlayEntry[]> {
    const added: OverlayEntry[] = [];
    const current: KeyGroups[] = [];
    const known = new Set([
      ...this.#list.segments.map(({ checksum }) => checksum),
      ...this.#base.record.ranges.flatMap(({ folded }) => folded),
    ]);
    for (const { range, segments } of this.#options.parts ?? []) {
      const last = segments.findLastIndex(({ checksum }) => known.has(checksum));
      const above = segments.slice(last + 1);
      const held = this.#held.get(above[0]?.checksum ?? '');
      const isWhole = above.length === 0 || (above.length === 1 && held !== undefined);
      if (last < 0 || !isWhole) continue;
      current.push(range);
      if (held === undefined) continue;
      this.#held.delete(held.checksum);
      added.push({ ...held, line: latest });
    }
    await this.#lose(uncovered(everything, current));
    return added;
  }

  // Folding.

  /** Parts of a range of which each full segment above it covers all or nothing. */
  #cut(range: CoveredRange): KeyGroups[] {
    const starts = new Set([range.first]);
    for (const { full, first, last, line } of this.#list.segments) {
      if (!full || line.checkpointId <= range.line.checkpointId) continue;
      for (const start of [first, last + 1]) if (start > range.first && start <= range.last) starts.add(start);
    }
    const sorted = [...starts].sort((a, b) => a - b);
    return sorted.map((first, i) => ({ first, last: (sorted[i + 1] ?? range.last + 1) - 1 }));
  }

  async #foldRange({ line: from }: CoveredRange, keyGroups: KeyGroups, line: Line): Promise<number> {
    const above = this.#list.segments.filter(
      ({ line: of, first, last }) =>
        of.checkpointId > from.checkpointId &&
        of.checkpointId <= line.checkpointId &&
        within({ first, last }, keyGroups) !== undefined,
    );
    const full = above.findLastIndex((segment) => segment.full);
    const open = above.slice(Math.max(full, 0)).map(({ checksum }) => this.#files.openSegment(checksum));
    try {
      const inputs = open.map((blocks) => ({ blocks, checksum: checksumHex(blocks.head.segmentChecksum) }));
      return await this.#run(keyGroups, line, inputs, full >= 0);
    } finally {
      for (const segment of open) segment.close();
    }
  }

  async #run(keyGroups: KeyGroups, line: Line, segments: readonly FoldInput[], anew: boolean): Promise<number> {
    const { clock } = this.#options;
    const { foldShare, transactionMs, transactionEntriesMax } = this.#settings;
    const { store } = this.#base;
    const pace = { transactionMs, transactionEntriesMax };
    const fold = new Fold({ store, clock, keyGroups, line, segments, anew, ...pace });
    for (let more = true; more; ) {
      const before = clock.monotonicMs();
      await this.#base.change(async () => {
        more = await fold.step();
      });
      const worked = clock.monotonicMs() - before;
      if (more && foldShare < 1) await sleep(clock, Math.min(1000, (worked * (1 - foldShare)) / foldShare));
    }
    return fold.entries;
  }

  /** Removes entries of key groups that the base does not cover any more. */
  async #sweep(): Promise<void> {
    for (const gap of uncovered(everything, this.#base.record.ranges)) {
      for (let more = true; more; ) {
        await this.#base.change(() => {
          more = clearSome(this.#base.store, gap, this.#settings.transactionEntriesMax);
        });
        if (more) await sleep(this.#options.clock, 1);
      }
    }
  }

  /** Segments are kept while a key group that is owned here needs them: one that has not passed them, or is to be fetched. */
  async #dropFolded(): Promise<void> {
    const isNeeded = (segment: OverlayEntry) =>
      this.#unpassed(segment).some((rest) => this.#owned.some((owned) => within(owned, rest) !== undefined));
    const dropped = this.#list.segments.filter((segment) => !isNeeded(segment));
    if (dropped.length === 0) return;
    await this.#replaceList({ ...this.#list, segments: this.#list.segments.filter((segment) => isNeeded(segment)) });
    // Views that have them open read on.
    for (const { checksum } of dropped) await this.#files.removeSegment(checksum);
  }

  /** Key groups of a segment for which the base does not have what it says. */
  #unpassed(segment: OverlayEntry): KeyGroups[] {
    const passed = this.#base.record.ranges.filter(
      ({ line, isFilling }) => isFilling !== true && line.checkpointId >= segment.line.checkpointId,
    );
    return uncovered(segment, passed);
  }

  // Files.

  #hasAllSince(range: KeyGroups, { checkpointId }: Line): boolean {
    const floors: readonly LineOf[] = this.#list.floors;
    return !floors.some((floor) => within(floor, range) !== undefined && floor.line.checkpointId > checkpointId);
  }

  /** Whoever replaces it meanwhile is not overtaken: the last to be written is the newest. */
  async #replaceList(list: FolderList): Promise<void> {
    // Another one may have these files open by now.
    if (this.#closed) throw new MillraceError('closed', 'FOLDER_CLOSED', `${this.#options.root} is closed`);
    this.#list = list;
    const write = () => this.#files.writeList(this.#list);
    const written = this.#written.then(write, write);
    this.#written = written;
    await written;
  }

  async #discard(held: readonly OverlayEntry[]): Promise<void> {
    for (const { checksum } of held) {
      this.#held.delete(checksum);
      await this.#files.removeSegment(checksum);
    }
  }
}
