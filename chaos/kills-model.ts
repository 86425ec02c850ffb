/** What the simulated checkpoint store must hold, and how it may change. Sees every change; no process knows of it. */
import {
  decodeHead,
  decodeManifest,
  type Head,
  type HeadManifest,
  isMoved,
  type Manifest,
  type Pin,
  type SegmentRef,
} from '../checkpoint/index.js';
import { type Content, differenceOf, type KeySpace } from './kills-content.js';

/** The objects as they are now, for looking at without a request. */
export interface ObjectsNow {
  names(): Iterable<string>;
  /** Undefined when there is none of this name. */
  bytes(name: string): Uint8Array | undefined;
}

export class KillsModel {
  readonly counts = { moves: 0, published: 0, merged: 0, deleted: 0, restored: 0, pinnedReads: 0 };
  head: Head | undefined;
  readonly #violate: (code: string, message: string) => void;
  readonly #objects: ObjectsNow;
  readonly #spaces: ReadonlyMap<string, KeySpace>;
  readonly #rollsBack: boolean;
  /** Contents by the position that the task's snapshot has. */
  readonly #snapshots = new Map<string, Content>();
  /** `epoch/checkpoint` of all that were ever in HEAD, with the nonce of the first HEAD that had it. */
  readonly #complete = new Map<string, string>();
  /** Nonces of all that HEAD ever was, oldest first, and how far back a power cut may take it. */
  readonly #history: string[] = [];
  #durable = -1;
  readonly #manifests = new Map<string, Manifest>();
  readonly #changes = new Map<string, ReturnType<KeySpace['changeOf']>>();
  readonly #pinned = new Map<string, readonly string[]>();
  /** What HEAD and what is pinned needs. */
  #needed = new Set<string>();

  constructor(options: {
    readonly violate: (code: string, message: string) => void;
    readonly objects: ObjectsNow;
    readonly spaces: ReadonlyMap<string, KeySpace>;
    /** Leaders go back to older checkpoints now and then. */
    readonly rollsBack: boolean;
  }) {
    this.#violate = options.violate;
    this.#objects = options.objects;
    this.#spaces = options.spaces;
    this.#rollsBack = options.rollsBack;
  }

  space(task: string): KeySpace {
    return this.#spaces.get(task) as KeySpace;
  }

  /** A task took a snapshot: whoever restores it must find this content. */
  took(position: string, content: Content): void {
    this.#snapshots.set(position, [...content]);
  }

  contentAt(position: string): Content | undefined {
    return this.#snapshots.get(position);
  }

  /** HEAD has just become this. */
  moved(bytes: Uint8Array): void {
    this.counts.moves++;
    const head = decodeHead(bytes, 'the watched store');
    const before = this.head;
    const wrong = this.#wrongMove(before, head);
    if (wrong !== undefined) this.#violate('HEAD_WRONG', `HEAD ${brief(before)} -> ${brief(head)}: ${wrong}`);
    this.head = head;
    this.#history.push(head.nonce);
    this.#lookAtNeeds('HEAD refers to');
    const { latest } = head;
    if (latest === null || this.#complete.has(this.#idOf(latest))) return;
    this.#complete.set(this.#idOf(latest), head.nonce);
    const manifest = this.manifestOf(latest);
    if (manifest !== undefined) this.#lookInto(manifest);
  }

  /** After a power cut: HEAD may have lost moves that nobody was told of. */
  rewound(bytes: Uint8Array | undefined): void {
    const head = bytes && decodeHead(bytes, 'the watched disk');
    const at = this.#history.indexOf(head?.nonce ?? '');
    if (at < this.#durable) {
      this.#violate(
        'LOST_WITH_POWER',
        `HEAD ${brief(head)} after a power cut: a publication that was told is not in it`,
      );
    }
    this.#history.length = at + 1;
    for (const [id, nonce] of this.#complete) if (!this.#history.includes(nonce)) this.#complete.delete(id);
    this.head = head;
    this.#lookAtNeeds('after a power cut HEAD refers to');
  }

  /** A leader was told that this publication is done. */
  told(manifest: Manifest): void {
    this.counts.published++;
    const id = `${manifest.epoch}/${manifest.checkpointId}`;
    const nonce = this.#complete.get(id);
    if (nonce !== undefined) {
      this.#durable = Math.max(this.#durable, this.#history.indexOf(nonce));
      return;
    }
    this.#violate('TOLD_WRONGLY', `checkpoint ${id} was told to be complete, and HEAD never held it`);
  }

  deleted(name: string): void {
    this.counts.deleted++;
    if (!this.#needed.has(name)) return;
    this.#violate('DELETED_ALIVE', `${name} was deleted; HEAD ${brief(this.head)} or a pin needs it`);
  }

  /** A reader may rely on it from now on. */
  pinned(pin: Pin): void {
    this.#pinned.set(pin.name, namesIn(pin.manifest));
    this.#lookAtNeeds('a pinned checkpoint refers to');
  }

  unpinned(pin: Pick<Pin, 'name'>): void {
    this.#pinned.delete(pin.name);
    this.#needed = this.#needs();
  }

  /** What a process read as a task's content. */
  read(who: string, task: string, position: string, found: Content): void {
    const expected = this.#snapshots.get(position);
    const wrong = expected === undefined ? 'nobody took that snapshot' : differenceOf(found, expected);
    if (wrong !== undefined) this.#violate('CONTENT_WRONG', `${who} read ${task} at ${position}: ${wrong}`);
  }

  /** Undefined, and a violation, when HEAD refers to a manifest that is not there. */
  manifestOf(kept: HeadManifest): Manifest | undefined {
    if (!isMoved(kept)) return kept;
    let manifest = this.#manifests.get(kept.object);
    if (manifest === undefined) {
      const bytes = this.#objects.bytes(kept.object);
      if (bytes === undefined) return void this.#violate('MANIFEST_MISSING', `HEAD refers to ${kept.object}`);
      manifest = decodeManifest(bytes, kept.object);
      this.#manifests.set(kept.object, manifest);
    }
    return manifest;
  }

  kept(head: Head | undefined = this.head): readonly HeadManifest[] {
    return head === undefined || head.latest === null ? [] : [head.latest, ...head.retained];
  }

  /** Why the objects are not exactly what HEAD and these pins need, if so. */
  leak(pins: readonly Pin[]): string | undefined {
    const needed = new Set(this.#headNeeds());
    // A pin of a reader that died before it looked again may have come too late: what it names is there, or not.
    const perhaps = new Set<string>();
    for (const { name, manifest } of pins) {
      needed.add(name);
      const holds = this.#pinned.has(name) ? needed : perhaps;
      for (const needs of namesIn(manifest)) holds.add(needs);
    }
    const names = new Set(this.#objects.names());
    const leaked = [...names].filter((name) => !needed.has(name) && !perhaps.has(name));
    const lost = [...needed].filter((name) => !names.has(name));
    if (leaked.length + lost.length === 0) return undefined;
    return `not needed: ${leaked.join(', ') || 'none'}; not there: ${lost.join(', ') || 'none'}; HEAD ${brief(this.head)}`;
  }

  #wrongMove(before: Head | undefined, now: Head): string | undefined {
    if (this.#history.includes(now.nonce)) return 'the nonce was used before';
    if (before === undefined) return now.epoch === 1 && now.latest === null ? undefined : 'not what a first one is';
    const kept = this.kept(now).map((m) => this.#idOf(m));
    const keptBefore = this.kept(before).map((m) => this.#idOf(m));
    const ids = this.kept(now).map((m) => m.checkpointId);
    if (ids.some((id, i) => i > 0 && id >= (ids[i - 1] as number))) return 'kept checkpoints are out of order';
    if (now.epoch === before.epoch) {
      if (now.line < before.line) return `the publishing line went back from ${before.line} to ${now.line}`;
      if (kept.slice(1).some((id, i) => id !== keptBefore[i])) return 'it does not keep what was kept before';
      return undefined;
    }
    if (now.epoch !== before.epoch + 1) return 'epochs grow by one';
    const gone = keptBefore.length - kept.length;
    if (keptBefore.slice(gone).some((id, i) => id !== kept[i])) return 'a takeover changed what is kept';
    return gone === 0 || this.#rollsBack ? undefined : 'a takeover lost a checkpoint';
  }

  #lookAtNeeds(who: string): void {
    this.#needed = this.#needs();
    for (const name of this.#needed) {
      if (this.#objects.bytes(name) !== undefined) continue;
      this.#violate('OBJECT_MISSING', `${who} ${name}, which is not there; HEAD ${brief(this.head)}`);
    }
  }

  #needs(): Set<string> {
    const needed = new Set(this.#headNeeds());
    for (const names of this.#pinned.values()) for (const name of names) needed.add(name);
    return needed;
  }

  *#headNeeds(): Iterable<string> {
    for (const kept of this.kept()) {
      if (isMoved(kept)) yield kept.object;
      const manifest = this.manifestOf(kept);
      if (manifest !== undefined) yield* namesIn(manifest);
    }
  }

  /** A checkpoint that has just become complete holds what its tasks had at their snapshots. */
  #lookInto(manifest: Manifest): void {
    for (const { task, segments, position } of manifest.tasks) {
      const space = this.space(task);
      this.counts.merged += segments.filter(({ deltas }) => deltas > 1).length;
      const changes = segments.map((ref) => this.#changeOf(task, space, ref));
      if (changes.some((change) => change === undefined)) continue;
      const content = space.overlaid(changes.filter((change) => change !== undefined));
      this.read(`checkpoint ${manifest.epoch}/${manifest.checkpointId}`, task, position, content);
    }
  }

  #idOf(kept: HeadManifest): string {
    return `${this.manifestOf(kept)?.epoch}/${kept.checkpointId}`;
  }

  #changeOf(task: string, space: KeySpace, ref: SegmentRef): ReturnType<KeySpace['changeOf']> | undefined {
    // Of two tasks segments with the same bytes say different things: their keys are numbered differently.
    const where = ref.inline === undefined ? `${ref.object}@${ref.offset}` : `${ref.checksum}/${ref.inline}`;
    const key = `${task} ${where}`;
    let change = this.#changes.get(key);
    if (change !== undefined) return change;
    const object = ref.inline === undefined ? this.#objects.bytes(ref.object) : Buffer.from(ref.inline, 'base64');
    if (object === undefined) return undefined;
    const at = ref.inline === undefined ? ref.offset : 0;
    change = space.changeOf(object.subarray(at, at + ref.length));
    this.#changes.set(key, change);
    return change;
  }
}

function namesIn(manifest: Manifest): string[] {
  return manifest.tasks.flatMap(({ segments }) => segments.filter((s) => s.inline === undefined).map((s) => s.object));
}

function brief(head: Head | undefined): string {
  if (head === undefined) return 'none';
  const ids = [head.latest, ...head.retained].map((m) => m?.checkpointId ?? '-');
  return `${head.epoch}:${ids.join(',')} line ${head.line}`;
}
