import {
  type BlobStore,
  type KeyGroups,
  type Manifest,
  type SegmentState,
  StoredSegment,
} from '../../checkpoint/index.js';
import { type RemotePart, RemoteState } from '../view/remote-state.js';
import type { ViewDescription } from '../view/view-description.js';
import { beginning, type Line, sameLine, uncovered, within } from './base-record.js';
import type { History } from './folder-list.js';
import { HostPins } from './host-pins.js';
import { hottest } from './hottest.js';
import { type CompletedSegment, StateFolder, type StateFolderOptions } from './state-folder.js';

/** What HEAD says, read now. */
export interface HeadState extends History {
  /** Of the leader; 0: there never was one. */
  readonly epoch: number;
  /** Of the newest checkpoint, by operator: what each of its tasks has. */
  readonly parts: ReadonlyMap<string, readonly RemotePart[]>;
  /** The newest checkpoint, to be pinned while it is read; without it nothing is. */
  readonly manifest?: Manifest;
}

/** How often keys of a key group were asked for where they are not on this host. */
export type KeyGroupHeat = readonly [keyGroup: number, count: number];

/** What a task needs to start from what this host has: see `restoreSegment`. */
export interface LocalRestore {
  readonly description: ViewDescription;
  /** Of the segments it starts from, oldest first. */
  readonly states: readonly SegmentState[];
  /** Where the same checkpoint is stored, as long as this host does not have all of the task's key groups. */
  readonly parts: readonly RemotePart[];
}

/** A task's segment in a checkpoint, or about to be. */
export interface OperatorSegment extends CompletedSegment {
  readonly operator: string;
}

export interface HostStateOptions extends Omit<StateFolderOptions, 'history' | 'parts'> {
  /** Of the job: 0 to one less. */
  readonly keyGroups: number;
  readonly readHead: () => Promise<HeadState>;
  /** Where segments of checkpoints are. */
  readonly store: BlobStore;
  /** Names this host's pins; the same in each of its lives, and no other host's. [A-Za-z0-9._-]. */
  readonly owner: string;
}

/**
 * The state folders of a job on one host, one for each operator, opened when they are first needed: told what happens to
 * checkpoints, in the order in which it does, they keep up with HEAD, fold and fetch in the background.
 *
 * All tasks of the job are on this host: whose segment is not in a checkpoint has not changed.
 *
 * Nothing that goes wrong here harms the job: a folder that fails is closed, and opened again from HEAD at the next checkpoint.
 * The same happens when this class may have missed something: under a new leader, and when it is not told how a checkpoint ended.
 */
export class HostState {
  readonly #options: HostStateOptions;
  readonly #folders = new Map<string, StateFolder>();
  /** Checkpoints that are stored, of this leader, of which it is not known yet whether they complete. */
  readonly #stored = new Map<number, readonly OperatorSegment[]>();
  #epoch = 0;
  /** Calls, one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** Folding and fetching, one after the other. */
  #background: Promise<void> | undefined;
  readonly #pins: HostPins;
  /** What tasks said of key groups that were not on this host, by operator. */
  readonly #heat = new Map<string, Map<number, number>>();
  #closed = false;

  constructor(options: HostStateOptions) {
    this.#options = options;
    this.#pins = new HostPins(options);
  }

  /** Keeps a segment that a task took. */
  hold(operator: string, segment: Uint8Array): Promise<void> {
    return this.#inTurn(operator, async () => {
      const folder = await this.#folder(operator);
      await folder.hold(segment);
    });
  }

  /** The leader of this epoch has these segments stored, to publish them as a checkpoint. */
  stored(checkpointId: number, epoch: number, segments: readonly OperatorSegment[]): Promise<void> {
    return this.#inTurn('all', async () => {
      if (epoch !== this.#epoch) await this.#begin(epoch);
      this.#stored.set(checkpointId, segments);
    });
  }

  /** The checkpoint is in HEAD. */
  completed(checkpointId: number, epoch: number): Promise<void> {
    return this.#inTurn('all', async () => {
      const line = { checkpointId, epoch };
      if (epoch < this.#epoch) return;
      const segments = this.#stored.get(checkpointId) ?? [];
      this.#stored.delete(checkpointId);
      const isUnbroken = epoch === this.#epoch && [...this.#stored.keys()].every((id) => id > checkpointId);
      if (!isUnbroken) await this.#begin(epoch);
      for (const operator of this.#folders.keys()) {
        const own = segments.filter((segment) => segment.operator === operator);
        await this.#guarded(operator, (folder) => this.#complete(folder, line, own));
      }
      if (this.#missing().length === 0) await this.#pins.unneeded();
      this.#work();
    });
  }

  aborted(checkpointId: number): Promise<void> {
    return this.#inTurn('all', async () => {
      this.#stored.delete(checkpointId);
      for (const operator of this.#folders.keys()) {
        await this.#guarded(operator, (folder) => folder.aborted(checkpointId));
      }
    });
  }

  /**
   * For readers: state at the newest completed checkpoint; undefined when there is none to be had. `heat`: what they had to fetch since
   * they last asked; it is brought to this host first.
   */
  describe(operator: string, heat: readonly KeyGroupHeat[] = []): Promise<ViewDescription | undefined> {
    let description: ViewDescription | undefined;
    const known = this.#heat.get(operator) ?? new Map<number, number>();
    for (const [keyGroup, count] of heat) known.set(keyGroup, (known.get(keyGroup) ?? 0) + count);
    this.#heat.set(operator, known);
    return this.#inTurn(operator, async () => {
      description = (await this.#folder(operator)).describe();
    }).then(() => description);
  }

  /**
   * For a task of these key groups, which is to start from a checkpoint where it has these segments (checksums, oldest first; none:
   * from nothing). Undefined unless that is HEAD's newest, and this host has what it has of it: what it does not have is read
   * where it is stored, and kept from the collector until this host has it.
   */
  restore(operator: string, range: KeyGroups, segments: readonly string[]): Promise<LocalRestore | undefined> {
    let found: LocalRestore | undefined;
    return this.#inTurn(operator, async () => {
      const folder = await this.#folder(operator);
      const description = folder.describe();
      const { latest, parts, manifest } = await this.#options.readHead();
      if (!sameLine(description.line, latest ?? beginning)) return;
      const all = parts.get(operator) ?? [];
      const refs = all.find(({ range: of }) => of.first === range.first && of.last === range.last)?.segments ?? [];
      if (refs.map(({ checksum }) => checksum).join() !== segments.join()) return;
      const isAll = folder.missing(range).length === 0;
      const [opened, isPinned] = await Promise.all([
        Promise.all(refs.map((ref) => StoredSegment.open(this.#options.store, ref))),
        isAll || manifest === undefined || this.#pins.pin(manifest),
      ]);
      if (!isPinned) return;
      const own = isAll ? [] : all.filter((part) => within(part.range, range) !== undefined);
      found = { description, states: opened.flatMap(({ index }) => index.states), parts: own };
      // Whoever starts may go on for long before a checkpoint completes.
      this.#work();
    }).then(() => found);
  }

  /**
   * A reader found what this host has of an operator's state damaged, or missing: all of it is thrown away, and fetched anew. Those who
   * read it go on, until they are told of what takes its place.
   */
  distrust(operator: string): Promise<void> {
    return this.#inTurn(operator, async () => {
      const folder = this.#folders.get(operator);
      this.#folders.delete(operator);
      await folder?.close();
      await this.#folder(operator, { anew: true });
      this.#work();
    });
  }

  /** After the death of a process that may have had views open: otherwise it pins every page that is replaced. */
  checkReaders(): Promise<number> {
    let dead = 0;
    return this.#inTurn('all', async () => {
      for (const folder of this.#folders.values()) dead += folder.checkReaders();
    }).then(() => dead);
  }

  /** Resolves when nothing is left to fold or fetch. */
  async idle(): Promise<void> {
    await this.#last;
    while (this.#background !== undefined) await this.#background;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
    await this.#closeAll();
    await this.#background;
    await this.#pins.close();
  }

  /** Everything is opened anew when it is next needed: what HEAD does not confirm is not used. */
  async #begin(epoch: number): Promise<void> {
    const operators = [...this.#folders.keys()];
    this.#epoch = epoch;
    this.#stored.clear();
    await this.#closeAll();
    for (const operator of operators) await this.#folder(operator);
  }

  /** Folding and fetching end with their current step. */
  async #closeAll(): Promise<void> {
    const folders = [...this.#folders.values()];
    this.#folders.clear();
    for (const folder of folders) await folder.close();
  }

  async #folder(operator: string, { anew = false } = {}): Promise<StateFolder> {
    const known = this.#folders.get(operator);
    if (known !== undefined) return known;
    const { root, keyGroups, readHead } = this.#options;
    const { epoch, latest, kept, parts } = await readHead();
    const own = parts.get(operator) ?? [];
    const folder = await StateFolder.open({
      ...this.#options,
      root: `${root}/${operator}`,
      history: { latest, kept },
      parts: own,
      anew,
    });
    if (latest === undefined) await folder.startEmpty(this.#all);
    this.#options.logger.debug(
      { operator, missing: folder.missing({ first: 0, last: keyGroups - 1 }) },
      'state opened',
    );
    this.#folders.set(operator, folder);
    this.#epoch = Math.max(this.#epoch, epoch);
    return folder;
  }

  async #complete(folder: StateFolder, line: Line, segments: readonly OperatorSegment[]): Promise<void> {
    const known = folder.describe().line;
    // It was opened when HEAD had moved already.
    if (known.epoch === line.epoch && known.checkpointId >= line.checkpointId) return;
    await folder.completed(line, segments, uncovered(this.#all, segments));
  }

  get #all(): KeyGroups {
    return { first: 0, last: this.#options.keyGroups - 1 };
  }

  #missing(): KeyGroups[] {
    return [...this.#folders.values()].flatMap((folder) => folder.missing(this.#all));
  }

  /** Folds what is due and fetches what is missing, unless that is going on already. */
  #work(): void {
    if (this.#background !== undefined || this.#closed) return;
    this.#background = this.#workAll().finally(() => {
      this.#background = undefined;
    });
  }

  async #workAll(): Promise<void> {
    for (const operator of [...this.#folders.keys()]) {
      await this.#guarded(operator, async (folder) => {
        if (this.#closed) return;
        if (folder.missing(this.#all).length > 0) await this.#hydrate(operator, folder);
        if (folder.isFoldDue) await folder.fold();
      });
    }
  }

  /** Those that tasks ask for most come first, and what tasks say meanwhile counts. */
  async #hydrate(operator: string, folder: StateFolder): Promise<void> {
    const { latest, parts, manifest } = await this.#options.readHead();
    const own = parts.get(operator);
    if (latest === undefined || own === undefined) return;
    if (manifest !== undefined && !(await this.#pins.pin(manifest))) return;
    const remote = new RemoteState({ store: this.#options.store, line: latest, parts: own });
    for (let wanted = folder.missing(this.#all); wanted.length > 0; ) {
      if (this.#closed) return;
      const heat = this.#heat.get(operator) ?? new Map<number, number>();
      const next = hottest(wanted, heat);
      for (const range of next) await folder.hydrate(range, remote);
      for (const { first, last } of next)
        for (let keyGroup = first; keyGroup <= last; keyGroup++) heat.delete(keyGroup);
      // Each is tried once: what cannot be had as of this checkpoint is fetched as of a later one.
      wanted = wanted.flatMap((range) => uncovered(range, next));
    }
  }

  async #guarded(operator: string, use: (folder: StateFolder) => Promise<void>): Promise<void> {
    const folder = this.#folders.get(operator);
    if (folder === undefined) return;
    try {
      await use(folder);
    } catch (thrown) {
      // Closed meanwhile: nobody wants it any more.
      if (this.#folders.get(operator) !== folder) return;
      this.#failed(operator, thrown);
      this.#folders.delete(operator);
      await folder.close().catch((error) => this.#failed(operator, error));
    }
  }

  #inTurn(operator: string, run: () => Promise<void>): Promise<void> {
    const done = this.#last.then(run).catch((thrown) => this.#failed(operator, thrown));
    this.#last = done;
    return done;
  }

  #failed(operator: string, thrown: unknown): void {
    this.#options.logger.warn({ operator, error: String(thrown) }, 'state on this host could not be kept up');
  }
}
