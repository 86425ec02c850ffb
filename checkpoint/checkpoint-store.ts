import { type Logger, MillraceError, type Random } from '../base/index.js';
import { manifestObjectName } from './blob/blob-name.js';
import type { BlobStore } from './blob/blob-store.js';
import { collectGarbage, type Garbage, keptManifests, readManifest } from './collect-garbage.js';
import { encodeHead, encodeManifest, type Head, type HeadManifest, isMoved } from './head/head.js';
import {
  canFollow,
  canRename,
  deadReferences,
  headAfterPublish,
  headAfterTakeOver,
  keptBy,
  markedBy,
  objectsOf,
  reservationId,
} from './head/head-protocol.js';
import { fenced, HeadRegister, refuseLostHead } from './head/head-register.js';
import type { Manifest, SegmentRef } from './manifest.js';
import { readSegment } from './segment/stored-segment.js';

const takeOversMax = 32;
const headBytesMaxDefault = 256 * 1024;

export interface CheckpointStoreOptions {
  readonly store: BlobStore;
  readonly random: Random;
  readonly logger: Logger;
  /** Complete checkpoints that are kept, the newest included. Default 3. */
  readonly retained?: number;
  /** Manifests move out of HEAD, oldest first, while it is larger than this without inline segments. Default 256 KiB. */
  readonly headBytesMax?: number;
}

/** A checkpoint id under which objects may be written now and brought in by a later publication. */
export interface Reservation {
  readonly epoch: number;
  readonly checkpointId: number;
  /** Brought in, or given up: the publishing line may pass. */
  release(): void;
}

/**
 * The checkpoints of one job in one BlobStore. HEAD, moved only by compare-and-set, is the commit point: a checkpoint is
 * complete when HEAD holds it. One leader writes (`takeOver`, then `publish`); anyone may read.
 *
 * Calls of one leader must not overlap, except reads (`manifest`, `readSegment`), `reserve` and `collect`.
 */
export class CheckpointStore {
  readonly #store: BlobStore;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #retained: number;
  readonly #headBytesMax: number;
  readonly #register: HeadRegister;
  /** True between a takeover and the discovery that a higher epoch exists, or that HEAD's state is unknown. */
  #leading = false;
  /** Of the newest takeover that succeeded; HEAD may have been seen at a higher one since. */
  #ledEpoch = 0;
  #latest: Manifest | undefined;
  /** Of the newest publication begun; names of objects written from now on are above it. */
  #highestId = 0;
  readonly #reservations = new Set<Reservation>();
  /** Manifests outside HEAD, by object: they are immutable. */
  readonly #manifests = new Map<string, Manifest>();
  /** Objects that left HEAD, or were found pending, and are not deleted yet. */
  #dropped = new Set<string>();
  /** Whether the store was searched for garbage since this leadership began (or since it was opened). */
  #swept = false;

  private constructor(options: CheckpointStoreOptions) {
    this.#store = options.store;
    this.#random = options.random;
    this.#logger = options.logger;
    this.#retained = options.retained ?? 3;
    this.#headBytesMax = options.headBytesMax ?? headBytesMaxDefault;
    this.#register = new HeadRegister(options.store);
  }

  /**
   * Reads HEAD. A store without one, and without segments, is a job without checkpoints; a store that fails is an error.
   * @throws MillraceError `CHECKPOINTS_RETAINED` (invalid), `STORE_UNAVAILABLE`, `HEAD_CORRUPT`, `HEAD_VERSION`, `HEAD_MISSING`.
   */
  static async open(options: CheckpointStoreOptions): Promise<CheckpointStore> {
    const store = CheckpointStore.#checked(options);
    const { head, latest } = await store.#look();
    store.#latest = latest;
    if (head === undefined) await refuseLostHead(options.store);
    return store;
  }

  /**
   * Opens, leads and rolls back in one: also where the newest checkpoint's manifest cannot be read. See `rollBack`.
   * @throws as `open` and `rollBack`.
   */
  static async openAt(
    options: CheckpointStoreOptions,
    checkpointId: number,
    as?: { readonly as: number },
  ): Promise<CheckpointStore> {
    const store = CheckpointStore.#checked(options);
    await store.#register.refresh();
    await store.rollBack(checkpointId, as);
    return store;
  }

  static #checked(options: CheckpointStoreOptions): CheckpointStore {
    const { retained = 3 } = options;
    if (!Number.isInteger(retained) || retained < 1) {
      throw new MillraceError(
        'invalid',
        'CHECKPOINTS_RETAINED',
        `retained checkpoints must be 1 or more, not ${retained}`,
      );
    }
    return new CheckpointStore(options);
  }

  /** The newest complete checkpoint, as of the last look at HEAD. */
  get latest(): Manifest | undefined {
    return this.#latest;
  }

  /** HEAD's leader epoch, as of the last look at it; 0 before the first takeover ever. */
  get epoch(): number {
    return this.#register.head?.epoch ?? 0;
  }

  /** Ids of all checkpoints that can be restored, newest first. */
  get checkpointIds(): readonly number[] {
    const { head } = this.#register;
    return head === undefined ? [] : keptBy(head).map((m) => m.checkpointId);
  }

  /**
   * Becomes the leader: epoch + 1, by compare-and-set. Whatever others have pending can never complete from here on.
   * @returns the new epoch. @throws MillraceError `STORE_UNAVAILABLE`.
   */
  takeOver(): Promise<number> {
    return this.#lead('take over', (head) => head);
  }

  /**
   * As `takeOver`, after a `publish` whose outcome is unknown: afterwards `latest` tells whether it completed, and what of it
   * is still on its way can no longer move HEAD. @throws MillraceError `LEADER_FENCED` (fenced) when another leader has
   * come meanwhile; `STORE_UNAVAILABLE`.
   */
  regain(): Promise<number> {
    return this.#lead('regain', (head) => head, this.#ledEpoch);
  }

  /** As `takeOver`, and forgets all checkpoints, so that a new run can start where a finished one was. */
  reset(): Promise<number> {
    return this.#lead('reset', (head) => head && { ...head, latest: null, retained: [] });
  }

  /**
   * As `takeOver`, and goes back to an older kept checkpoint: newer ones are given up. It keeps its id, or is known `as` a
   * higher one from then on, so that ids of those given up are not used again.
   * @throws MillraceError `CHECKPOINT_NOT_FOUND` (invalid), `STORE_UNAVAILABLE`; `CHECKPOINT_ORDER` (invalid) when `as` is not
   *   above all that HEAD keeps by now: another leader has completed checkpoints meanwhile, which must not be given up unseen.
   */
  async rollBack(checkpointId: number, { as = checkpointId }: { readonly as?: number } = {}): Promise<number> {
    const manifest = as === checkpointId ? undefined : await this.manifest(checkpointId);
    return this.#lead('roll back', (head) => {
      const kept = head === undefined ? [] : keptBy(head);
      const at = kept.findIndex((m) => m.checkpointId === checkpointId);
      const latest = kept[at];
      if (head === undefined || latest === undefined) throw this.#notFound(checkpointId);
      if (manifest !== undefined && !canRename(head, manifest, as)) {
        throw new MillraceError(
          'invalid',
          'CHECKPOINT_ORDER',
          `checkpoint ${checkpointId} cannot be known as ${as}: another leader came meanwhile; HEAD keeps ${kept.map((m) => m.checkpointId).join(', ')}`,
        );
      }
      const renamed = manifest && { ...manifest, checkpointId: as, epoch: head.epoch + 1 };
      return { ...head, latest: renamed ?? latest, retained: kept.slice(at + 1) };
    });
  }

  /**
   * Keeps objects alive that are named after the id it returns, until a publication brings them in or they are given up.
   * For work that takes longer than one checkpoint. Ends with the leadership.
   * @throws MillraceError `LEADER_FENCED`.
   */
  reserve(): Reservation {
    const head = this.#leadingHead('reserve a name');
    const reservation = {
      epoch: head.epoch,
      checkpointId: reservationId(this.#latest, this.#highestId),
      release: () => void this.#reservations.delete(reservation),
    };
    this.#reservations.add(reservation);
    return reservation;
  }

  /**
   * Makes a checkpoint complete: one compare-and-set (and a put for each manifest that no longer fits into HEAD).
   * @throws MillraceError `LEADER_FENCED` (fenced); `CHECKPOINT_ORDER`, `SEGMENT_DEAD` (invalid); `STORE_UNAVAILABLE`: the
   *   outcome may be unknown, and this store refuses to publish until `takeOver` (which aborts the move, or finds it done).
   */
  async publish(manifest: Manifest): Promise<void> {
    const { checkpointId } = manifest;
    const head = this.#leadingHead(`publish checkpoint ${checkpointId}`);
    if (manifest.epoch !== head.epoch) throw fenced(this.#store, manifest.epoch, head.epoch);
    if (!canFollow(this.#latest, checkpointId)) {
      throw new MillraceError(
        'invalid',
        'CHECKPOINT_ORDER',
        `checkpoint ${checkpointId} cannot follow checkpoint ${this.#latest?.checkpointId}`,
      );
    }
    await this.#refuseDeadReferences(manifest, head);
    this.#highestId = Math.max(this.#highestId, checkpointId);
    const next = headAfterPublish(head, manifest, {
      nonce: this.#random.nonce(),
      retainedMax: this.#retained,
      reserved: [...this.#reservations].map((r) => r.checkpointId),
    });
    await this.#move(await this.#shrunk(next, checkpointId));
    this.#latest = manifest;
    await this.#noteDropped(head);
  }

  /**
   * The newest or any retained checkpoint.
   * @throws MillraceError `CHECKPOINT_NOT_FOUND` (invalid), `MANIFEST_CORRUPT` (corrupt), `STORE_UNAVAILABLE`.
   */
  async manifest(checkpointId: number): Promise<Manifest> {
    if (this.#latest?.checkpointId === checkpointId) return this.#latest;
    const { head } = this.#register;
    const kept = head && keptBy(head).find((m) => m.checkpointId === checkpointId);
    if (kept === undefined) throw this.#notFound(checkpointId);
    return this.#readManifest(kept);
  }

  /** A segment's bytes, whole and verified: see `readSegment`. */
  readSegment(ref: SegmentRef): Promise<Uint8Array> {
    return readSegment(this.#store, ref);
  }

  /**
   * Deletes what has left HEAD and is dead; `thorough` (default: the first time) also looks for what others left
   * behind (aborted checkpoints, dead processes), which lists the store. See `collectGarbage`.
   */
  async collect(options: { readonly thorough?: boolean } = {}): Promise<Garbage> {
    const { thorough = !this.#swept } = options;
    const dropped = this.#dropped;
    if (!thorough && dropped.size === 0) return { objects: [], pending: [] };
    this.#dropped = new Set();
    this.#swept = true;
    try {
      const garbage = await collectGarbage(this.#store, thorough ? {} : { candidates: [...dropped] });
      // What a reservation or a pin still keeps is looked at again next time.
      const deleted = new Set(garbage.objects);
      for (const name of [...dropped, ...garbage.pending]) if (!deleted.has(name)) this.#dropped.add(name);
      const { length } = garbage.objects;
      if (length > 0) this.#logger.debug({ deleted: length }, 'collected dead checkpoint objects');
      return garbage;
    } catch (thrown) {
      for (const name of dropped) this.#dropped.add(name);
      if (thorough) this.#swept = false;
      throw thrown;
    }
  }

  #leadingHead(what: string): Head {
    const { head } = this.#register;
    if (this.#leading && head !== undefined) return head;
    throw new MillraceError('fenced', 'LEADER_FENCED', `${this.#store.location}: take over before you ${what}`);
  }

  /** A new object may be used once, by the checkpoint it was written for; an old one only while something refers to it. */
  async #refuseDeadReferences(manifest: Manifest, head: Head): Promise<void> {
    // Nearly always nothing but what the checkpoint before has, and new names.
    const before = new Set(this.#latest === undefined ? [] : objectsOf(this.#latest));
    if (deadReferences(manifest, head, before).length === 0) return;
    const [first] = deadReferences(manifest, head, markedBy(head, await keptManifests(this.#store, head)));
    if (first === undefined) return;
    throw new MillraceError(
      'invalid',
      'SEGMENT_DEAD',
      `checkpoint ${manifest.checkpointId} refers to ${first}, which no kept checkpoint holds and the collector may delete`,
      { context: { checkpointId: manifest.checkpointId, object: first } },
    );
  }

  /** HEAD with as many manifests outside, oldest first, as its size asks for. */
  async #shrunk(head: Head, checkpointId: number): Promise<Head> {
    const kept = [...keptBy(head)];
    let shrunk = head;
    for (
      let at = kept.length - 1;
      at >= 0 && encodeHead(shrunk).length - inlineBytesOf(shrunk) > this.#headBytesMax;
      at--
    ) {
      const manifest = kept[at] as HeadManifest;
      if (isMoved(manifest)) continue;
      const object = manifestObjectName(head.epoch, checkpointId, this.#random.nonce());
      await this.#store.put(object, encodeManifest(manifest));
      this.#manifests.set(object, manifest);
      kept[at] = { checkpointId: manifest.checkpointId, epoch: manifest.epoch, object };
      shrunk = { ...head, latest: kept[0] ?? null, retained: kept.slice(1) };
    }
    return shrunk;
  }

  /** What HEAD no longer refers to, now that it has moved on from `before`. */
  async #noteDropped(before: Head): Promise<void> {
    const now = this.#register.head;
    if (now === undefined) return;
    const names = async (head: Head) =>
      markedBy(head, await Promise.all(keptBy(head).map((kept) => this.#readManifest(kept))));
    try {
      const kept = await names(now);
      for (const name of await names(before)) if (!kept.has(name)) this.#dropped.add(name);
    } catch (thrown) {
      // The checkpoint is complete all the same; a thorough collection finds what was missed here.
      this.#logger.debug({ error: MillraceError.from(thrown).message }, 'looking for what HEAD dropped');
    }
    const moved = new Set(keptBy(now).map((m) => (isMoved(m) ? m.object : '')));
    for (const object of this.#manifests.keys()) if (!moved.has(object)) this.#manifests.delete(object);
  }

  async #lead(what: string, from: (head: Head | undefined) => Head | undefined, onlyIn?: number): Promise<number> {
    this.#leading = false;
    this.#reservations.clear();
    for (let attempt = 0; attempt < takeOversMax; attempt++) {
      // Read before HEAD moves: nobody leads on from a checkpoint that cannot be read.
      const { head, latest } = await this.#look(from);
      if (onlyIn !== undefined && !this.#register.canRegain(onlyIn)) {
        this.#latest = latest;
        throw fenced(this.#store, onlyIn, this.epoch);
      }
      try {
        await this.#move(headAfterTakeOver(from(head), this.#random.nonce()));
      } catch (thrown) {
        // Someone else moved HEAD first: go above them.
        if (thrown instanceof MillraceError && thrown.code === 'LEADER_FENCED') continue;
        throw thrown;
      }
      this.#register.settled();
      this.#highestId = 0;
      this.#swept = false;
      this.#latest = latest;
      this.#leading = true;
      this.#ledEpoch = this.epoch;
      this.#logger.info({ epoch: this.epoch, checkpointId: this.latest?.checkpointId ?? 0 }, `${what}: leading`);
      return this.epoch;
    }
    throw new MillraceError(
      'unavailable',
      'STORE_UNAVAILABLE',
      `${this.#store.location}: ${takeOversMax} attempts to ${what} were overtaken by other leaders`,
    );
  }

  async #move(head: Head): Promise<void> {
    try {
      await this.#register.move(head);
    } catch (thrown) {
      this.#leading = false;
      throw thrown;
    }
  }

  /** HEAD as it is now, and the newest checkpoint of what `of` makes of it. */
  async #look(
    of: (head: Head | undefined) => Head | undefined = (head) => head,
  ): Promise<{ readonly head: Head | undefined; readonly latest: Manifest | undefined }> {
    for (let missing: string | undefined; ; ) {
      const head = await this.#register.refresh();
      try {
        return { head, latest: await this.#latestOf(of(head)) };
      } catch (thrown) {
        // HEAD has moved on since, and a collector was quicker than we: look again, but never twice at the same.
        const isGone = thrown instanceof MillraceError && thrown.code === 'BLOB_NOT_FOUND';
        if (!isGone || head?.nonce === missing) throw thrown;
        missing = head?.nonce;
      }
    }
  }

  async #latestOf(head: Head | undefined): Promise<Manifest | undefined> {
    const latest = head?.latest;
    return latest === undefined || latest === null ? undefined : this.#readManifest(latest);
  }

  async #readManifest(kept: HeadManifest): Promise<Manifest> {
    if (!isMoved(kept)) return kept;
    const known = this.#manifests.get(kept.object);
    if (known !== undefined) return known;
    const manifest = await readManifest(this.#store, kept);
    this.#manifests.set(kept.object, manifest);
    return manifest;
  }

  #notFound(checkpointId: number): MillraceError {
    const kept = this.checkpointIds.join(', ') || 'none';
    return new MillraceError(
      'invalid',
      'CHECKPOINT_NOT_FOUND',
      `${this.#store.location}: no checkpoint ${checkpointId}; kept: ${kept}`,
      { context: { checkpointId } },
    );
  }
}

/** They stay wherever a manifest is, so they are no reason to move it. */
function inlineBytesOf(head: Head): number {
  const inline = new Map<string, number>();
  for (const kept of keptBy(head)) {
    if (isMoved(kept)) continue;
    for (const { segments } of kept.tasks) {
      for (const ref of segments) if (ref.inline !== undefined) inline.set(ref.checksum, ref.inline.length);
    }
  }
  return [...inline.values()].reduce((sum, bytes) => sum + bytes, 0);
}
