import { checksumHex, type Logger, MillraceError, type Random, xxh64 } from '../base/index.js';
import { manifestObjectName, parseObjectName } from './blob-name.js';
import type { BlobStore } from './blob-store.js';
import { decodeHead, decodeManifest, encodeHead, encodeManifest, type Head } from './head.js';
import type { Manifest, SegmentRef } from './manifest.js';

/** The name of the one mutable value. */
export const headName = 'HEAD';
/** Tries of one move of HEAD whose outcome is unknown, and of a takeover that races others. Waiting is a wrapper's business. */
const attemptsMax = 5;
const takeOversMax = 32;

/**
 * The checkpoints of one job in one BlobStore. HEAD, moved only by compare-and-set, is the commit point: a checkpoint is
 * complete when HEAD holds it. One leader writes (`takeOver`, then `publish`); anyone may read.
 *
 * Calls of one leader must not overlap, except reads (`manifest`, `readSegment`) and `collect`.
 */
export class CheckpointStore {
  readonly #store: BlobStore;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #retained: number;
  #head: Head | undefined;
  #version: string | undefined;
  /** True between a takeover and the discovery that a higher epoch exists, or that HEAD's state is unknown. */
  #leading = false;
  /** Of this leader's moves whose outcome is unknown: a HEAD that has one of these nonces was moved by nobody else. */
  readonly #unknown = new Set<string>();
  /** Manifests outside HEAD, by object: they are immutable. */
  readonly #manifests = new Map<string, Manifest>();

  private constructor(store: BlobStore, random: Random, logger: Logger, retained: number) {
    this.#store = store;
    this.#random = random;
    this.#logger = logger;
    this.#retained = retained;
  }

  /**
   * Reads HEAD. A store without one is a job without checkpoints; a store that fails is an error.
   * `retained`: complete checkpoints that are kept, the newest included.
   * @throws MillraceError `STORE_UNAVAILABLE`, `HEAD_CORRUPT`, `HEAD_VERSION`.
   */
  static async open(options: {
    readonly store: BlobStore;
    readonly random: Random;
    readonly logger: Logger;
    readonly retained?: number;
  }): Promise<CheckpointStore> {
    const retained = options.retained ?? 3;
    if (!Number.isInteger(retained) || retained < 1) {
      throw new MillraceError(
        'invalid',
        'CHECKPOINTS_RETAINED',
        `retained checkpoints must be 1 or more, not ${retained}`,
      );
    }
    const store = new CheckpointStore(options.store, options.random, options.logger, retained);
    await store.#refresh();
    return store;
  }

  /** The newest complete checkpoint, as of the last look at HEAD. */
  get latest(): Manifest | undefined {
    return this.#head?.latest ?? undefined;
  }

  /** HEAD's leader epoch, as of the last look at it; 0 before the first takeover ever. */
  get epoch(): number {
    return this.#head?.epoch ?? 0;
  }

  /** Ids of all checkpoints that can be restored, newest first. */
  get checkpointIds(): readonly number[] {
    const latest = this.latest;
    return latest === undefined
      ? []
      : [latest.checkpointId, ...(this.#head?.retained ?? []).map((r) => r.checkpointId)];
  }

  /**
   * Becomes the leader: epoch + 1, by compare-and-set. Whatever others have pending can never complete from here on.
   * @returns the new epoch. @throws MillraceError `STORE_UNAVAILABLE`.
   */
  takeOver(): Promise<number> {
    return this.#lead('take over', (head) => ({ latest: head?.latest ?? null, retained: head?.retained ?? [] }));
  }

  /**
   * As `takeOver`, after a `publish` whose outcome is unknown: afterwards `latest` tells whether it completed, and what of it
   * is still on its way can no longer move HEAD. @throws MillraceError `LEADER_FENCED` (fenced) when another leader has
   * come meanwhile; `STORE_UNAVAILABLE`.
   */
  regain(): Promise<number> {
    const same = (head: Head | undefined) => ({ latest: head?.latest ?? null, retained: head?.retained ?? [] });
    return this.#lead('regain', same, this.epoch);
  }

  /** As `takeOver`, and forgets all checkpoints, so that a new run can start where a finished one was. */
  reset(): Promise<number> {
    return this.#lead('reset', () => ({ latest: null, retained: [] }));
  }

  /**
   * Makes a checkpoint complete: at most one put (the manifest it replaces) and one compare-and-set.
   * @throws MillraceError `LEADER_FENCED` (fenced); `CHECKPOINT_ORDER`, `SEGMENT_DEAD` (invalid); `STORE_UNAVAILABLE`: the
   *   outcome may be unknown, and this store refuses to publish until `takeOver` (which aborts the move, or finds it done).
   */
  async publish(manifest: Manifest): Promise<void> {
    const head = this.#head;
    if (!this.#leading || head === undefined) {
      throw new MillraceError(
        'fenced',
        'LEADER_FENCED',
        `checkpoint ${manifest.checkpointId}: take over before publishing`,
      );
    }
    if (manifest.epoch !== head.epoch) throw this.#fenced(manifest.epoch, head.epoch);
    const previous = head.latest;
    if (previous !== null && manifest.checkpointId <= previous.checkpointId) {
      throw new MillraceError(
        'invalid',
        'CHECKPOINT_ORDER',
        `checkpoint ${manifest.checkpointId} cannot follow checkpoint ${previous.checkpointId}`,
      );
    }
    await this.#refuseDeadSegments(manifest, head);
    let retained = head.retained;
    if (previous !== null && this.#retained > 1) {
      const object = manifestObjectName(head.epoch, manifest.checkpointId, this.#random.nonce());
      await this.#store.put(object, encodeManifest(previous));
      this.#manifests.set(object, previous);
      retained = [{ checkpointId: previous.checkpointId, object }, ...retained];
    }
    retained = retained.slice(0, this.#retained - 1);
    await this.#move({ epoch: head.epoch, nonce: this.#random.nonce(), latest: manifest, retained });
    for (const object of this.#manifests.keys()) {
      if (!retained.some((r) => r.object === object)) this.#manifests.delete(object);
    }
  }

  /**
   * The newest or any retained checkpoint.
   * @throws MillraceError `CHECKPOINT_NOT_FOUND` (invalid), `MANIFEST_CORRUPT` (corrupt), `STORE_UNAVAILABLE`.
   */
  async manifest(checkpointId: number): Promise<Manifest> {
    if (this.latest?.checkpointId === checkpointId) return this.latest;
    const retained = this.#head?.retained.find((r) => r.checkpointId === checkpointId);
    if (retained === undefined) {
      const kept = this.checkpointIds.join(', ') || 'none';
      throw new MillraceError(
        'invalid',
        'CHECKPOINT_NOT_FOUND',
        `${this.#store.location}: no checkpoint ${checkpointId}; kept: ${kept}`,
        { context: { checkpointId } },
      );
    }
    return this.#readManifest(retained.object);
  }

  /**
   * A segment's bytes, verified.
   * @throws MillraceError `SEGMENT_CORRUPT` (corrupt: missing, cut short or altered), `STORE_UNAVAILABLE`.
   */
  async readSegment(ref: SegmentRef): Promise<Uint8Array> {
    const place = ref.inline === undefined ? `${ref.object} at ${ref.offset}` : 'HEAD';
    const corrupt = (why: string, cause?: unknown) =>
      new MillraceError('corrupt', 'SEGMENT_CORRUPT', `${this.#store.location}: segment in ${place} ${why}`, {
        cause,
        context: { object: ref.object, offset: ref.offset, length: ref.length },
      });
    let bytes: Uint8Array;
    if (ref.inline !== undefined) {
      bytes = new Uint8Array(Buffer.from(ref.inline, 'base64'));
    } else {
      try {
        bytes = await this.#store.get(ref.object, { offset: ref.offset, length: ref.length });
      } catch (thrown) {
        if (thrown instanceof MillraceError && thrown.code === 'BLOB_NOT_FOUND') throw corrupt('is missing', thrown);
        throw thrown;
      }
    }
    if (bytes.byteLength !== ref.length) throw corrupt(`has ${bytes.byteLength} bytes, not ${ref.length}`);
    if (checksumHex(xxh64(bytes)) !== ref.checksum) throw corrupt('does not match its checksum');
    return bytes;
  }

  /**
   * Deletes what no checkpoint refers to and none ever will: an unmarked object is dead when its name's epoch is below
   * HEAD's, or when its checkpoint id is not above HEAD's. Dead is forever, so a collector that was paused for a week
   * deletes only what is still dead; no clock decides. Deletes nothing when a retained manifest cannot be read.
   */
  async collect(): Promise<{ deleted: string[] }> {
    const read = await this.#readHead();
    if (read === undefined) return { deleted: [] };
    const { head } = read;
    const marked = new Set<string>();
    for (const { object } of head.retained) {
      marked.add(object);
      for (const name of objectsOf(await this.#readManifest(object))) marked.add(name);
    }
    if (head.latest !== null) for (const name of objectsOf(head.latest)) marked.add(name);
    const deleted: string[] = [];
    for (const prefix of ['manifests/', 'segments/']) {
      for (const name of await this.#store.list(prefix)) {
        if (marked.has(name) || !isDead(name, head)) continue;
        await this.#store.delete(name);
        deleted.push(name);
      }
    }
    if (deleted.length > 0) this.#logger.debug({ deleted: deleted.length }, 'collected dead checkpoint objects');
    return { deleted };
  }

  /** A new object may be used once, by the checkpoint it was written for; an old one only while something refers to it. */
  async #refuseDeadSegments(manifest: Manifest, head: Head): Promise<void> {
    const marked = new Set(head.latest === null ? [] : objectsOf(head.latest));
    let missing = objectsOf(manifest).filter((name) => !marked.has(name) && isDead(name, head));
    for (const { object } of head.retained) {
      if (missing.length === 0) return;
      const kept = new Set(objectsOf(await this.#readManifest(object)));
      missing = missing.filter((name) => !kept.has(name));
    }
    const first = missing[0];
    if (first === undefined) return;
    throw new MillraceError(
      'invalid',
      'SEGMENT_DEAD',
      `checkpoint ${manifest.checkpointId} refers to ${first}, which no kept checkpoint holds and the collector may delete`,
      { context: { checkpointId: manifest.checkpointId, object: first } },
    );
  }

  async #lead(
    what: string,
    next: (head: Head | undefined) => Pick<Head, 'latest' | 'retained'>,
    onlyIn?: number,
  ): Promise<number> {
    this.#leading = false;
    for (let attempt = 0; attempt < takeOversMax; attempt++) {
      await this.#refresh();
      const mine = this.#head !== undefined && this.#unknown.has(this.#head.nonce);
      if (onlyIn !== undefined && this.epoch !== onlyIn && !mine) throw this.#fenced(onlyIn, this.epoch);
      const epoch = this.epoch + 1;
      try {
        await this.#move({ epoch, nonce: this.#random.nonce(), ...next(this.#head) });
      } catch (thrown) {
        // Someone else moved HEAD first: go above them.
        if (thrown instanceof MillraceError && thrown.kind === 'fenced') continue;
        throw thrown;
      }
      this.#leading = true;
      this.#unknown.clear();
      this.#logger.info({ epoch, checkpointId: this.latest?.checkpointId ?? 0 }, `${what}: leading`);
      return epoch;
    }
    throw new MillraceError(
      'unavailable',
      'STORE_UNAVAILABLE',
      `${this.#store.location}: ${takeOversMax} attempts to ${what} were overtaken by other leaders`,
    );
  }

  /**
   * Moves HEAD from the version last seen. Trying again after an unknown outcome is safe: the expected version is the
   * same, so the move happens at most once, and its nonce tells whether it was ours.
   */
  async #move(head: Head): Promise<void> {
    const bytes = encodeHead(head);
    const expected = this.#version;
    for (let attempt = 1; ; attempt++) {
      try {
        this.#adopt(head, await this.#store.compareAndSet(headName, expected, bytes));
        return;
      } catch (thrown) {
        if (!isUncertain(thrown)) throw thrown;
        const last = attempt === attemptsMax;
        const read = await this.#readHead().catch((readError: unknown) => {
          if (last || !isUncertain(readError)) this.#leading = false;
          if (!isUncertain(readError)) throw readError;
          return 'unreadable' as const;
        });
        if (read !== 'unreadable') {
          if (read?.head.nonce === head.nonce) {
            this.#adopt(head, read.version);
            return;
          }
          if (read?.version !== expected) {
            this.#leading = false;
            if (read !== undefined) this.#adopt(read.head, read.version);
            throw this.#fenced(head.epoch, this.epoch);
          }
        }
        if (last) {
          this.#leading = false;
          this.#unknown.add(head.nonce);
          throw new MillraceError(
            'unavailable',
            'STORE_UNAVAILABLE',
            `it is unknown whether HEAD was moved, take over again to find out: ${(thrown as Error).message}`,
            { cause: thrown },
          );
        }
      }
    }
  }

  #adopt(head: Head, version: string): void {
    this.#head = head;
    this.#version = version;
  }

  async #refresh(): Promise<void> {
    const read = await this.#readHead();
    this.#head = read?.head;
    this.#version = read?.version;
  }

  async #readHead(): Promise<{ readonly head: Head; readonly version: string } | undefined> {
    const value = await this.#store.read(headName);
    if (value === undefined) return undefined;
    return { head: decodeHead(value.bytes, this.#store.location), version: value.version };
  }

  async #readManifest(object: string): Promise<Manifest> {
    const known = this.#manifests.get(object);
    if (known !== undefined) return known;
    const manifest = decodeManifest(await this.#store.get(object), `${this.#store.location}, ${object}`);
    this.#manifests.set(object, manifest);
    return manifest;
  }

  #fenced(mine: number, current: number): MillraceError {
    return new MillraceError(
      'fenced',
      'LEADER_FENCED',
      `${this.#store.location}: the leader of epoch ${mine} was replaced; HEAD is at epoch ${current}`,
      { context: { epoch: mine, headEpoch: current } },
    );
  }
}

function objectsOf(manifest: Manifest): string[] {
  return manifest.tasks.flatMap((t) => t.segments.filter((s) => s.inline === undefined).map((s) => s.object));
}

/** Of an unmarked object: no later HEAD will refer to it. Names this store did not give are never dead. */
function isDead(name: string, head: Head): boolean {
  const parsed = parseObjectName(name);
  if (parsed === undefined || parsed.epoch > head.epoch) return false;
  return parsed.epoch < head.epoch || parsed.checkpointId <= (head.latest?.checkpointId ?? 0);
}

function isUncertain(thrown: unknown): boolean {
  return thrown instanceof MillraceError && (thrown.code === 'CAS_CONFLICT' || thrown.code === 'STORE_UNAVAILABLE');
}
