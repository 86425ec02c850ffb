import { assert, MillraceError, type Random } from '../base/index.js';
import { segmentObjectName } from './blob/blob-name.js';
import type { BlobStore } from './blob/blob-store.js';
import type { SegmentRef } from './manifest.js';
import { describeSegment } from './segment/stored-segment.js';

/** What rides inside HEAD rather than in an object. */
export const inlineBytesMaxDefault = 32 * 1024;

export interface SegmentHomeOptions {
  readonly store: BlobStore;
  readonly random: Random;
  /** Name of this host, part of object names: [A-Za-z0-9._-]. */
  readonly host: string;
  /** Segments of one checkpoint that are together no larger ride inside HEAD. Default 32 KiB. */
  readonly inlineBytesMax?: number;
  /** Bound of what is held. Default 1 GiB. */
  readonly heldBytesMax?: number;
}

/** One task's part of a checkpoint: which attempt took the snapshot. */
export interface SegmentOwner {
  readonly task: string;
  readonly attempt: number;
}

interface HeldSegment extends SegmentOwner {
  readonly checkpointId: number;
  readonly bytes: Uint8Array;
  readonly described: ReturnType<typeof describeSegment>;
}

/**
 * What a host holds between its tasks' barriers and the complete checkpoint. Lives in the daemon, so that it outlives
 * the worker that took the snapshot. Stored once per checkpoint: all tasks' segments in one object, or none when small.
 */
export class SegmentHome {
  readonly #store: BlobStore;
  readonly #random: Random;
  readonly #host: string;
  readonly #inlineBytesMax: number;
  readonly #heldBytesMax: number;
  readonly #held = new Map<string, HeldSegment>();
  /** Started or finished stores, so that a repeated order (its answer was lost) writes nothing twice. */
  readonly #stored = new Map<
    string,
    { readonly checkpointId: number; readonly refs: Promise<Map<string, SegmentRef>> }
  >();
  #heldBytes = 0;
  #epoch = 0;

  constructor(options: SegmentHomeOptions) {
    this.#store = options.store;
    this.#random = options.random;
    this.#host = options.host;
    this.#inlineBytesMax = options.inlineBytesMax ?? inlineBytesMaxDefault;
    this.#heldBytesMax = options.heldBytesMax ?? 2 ** 30;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Keeps a copy of a segment. Holding it again replaces it.
   * @returns a token that names it in messages.
   * @throws MillraceError `SEGMENT_HOME_FULL` (unavailable); `SEGMENT_CORRUPT` when these bytes are none.
   */
  hold(task: string, attempt: number, checkpointId: number, bytes: Uint8Array): string {
    const described = describeSegment(bytes);
    const token = tokenOf(task, attempt, checkpointId);
    this.#release(token);
    if (this.#heldBytes + bytes.byteLength > this.#heldBytesMax) {
      throw new MillraceError(
        'unavailable',
        'SEGMENT_HOME_FULL',
        `segment of ${task}, ${bytes.byteLength} bytes: ${this.#heldBytes} of ${this.#heldBytesMax} bytes are in use`,
        { context: { task, checkpointId } },
      );
    }
    this.#held.set(token, { task, attempt, checkpointId, bytes: new Uint8Array(bytes), described });
    this.#heldBytes += bytes.byteLength;
    return token;
  }

  /**
   * Makes one checkpoint's segments durable under a name of this epoch: one put, or none when they fit into HEAD.
   * @returns where each task's segment is.
   * @throws MillraceError `SEGMENT_LOST` (unavailable) naming the task; `EPOCH_STALE` (fenced); `STORE_UNAVAILABLE`:
   *   the segments are still held, and a repeated call stores them under a new name.
   */
  persist(checkpointId: number, epoch: number, tasks: readonly SegmentOwner[]): Promise<Map<string, SegmentRef>> {
    this.#fence(epoch);
    const key = `${epoch}/${checkpointId}/${tasks.map((t) => `${t.task}/${t.attempt}`).join()}`;
    const known = this.#stored.get(key);
    if (known !== undefined) return known.refs;
    const refs = this.#persist(checkpointId, epoch, tasks);
    this.#stored.set(key, { checkpointId, refs });
    refs.catch(() => this.#stored.delete(key));
    return refs;
  }

  /** The checkpoint will never complete: its segments are dropped; their changes are in the tasks' next ones. */
  abort(checkpointId: number, epoch = this.#epoch): void {
    this.#fence(epoch);
    this.#forget((id) => id === checkpointId);
  }

  /** The checkpoint is in HEAD: its segments, and those of earlier checkpoints, are needed no more. */
  completed(checkpointId: number, epoch = this.#epoch): void {
    this.#fence(epoch);
    this.#forget((id) => id <= checkpointId);
  }

  /** The attempt is dead and was replaced: nothing of it may enter a checkpoint. */
  drop(task: string, attempt: number): void {
    for (const [token, held] of this.#held) {
      if (held.task === task && held.attempt === attempt) this.#release(token);
    }
  }

  async #persist(
    checkpointId: number,
    epoch: number,
    tasks: readonly SegmentOwner[],
  ): Promise<Map<string, SegmentRef>> {
    const segments = tasks.map(({ task, attempt }) => {
      const held = this.#held.get(tokenOf(task, attempt, checkpointId));
      if (held !== undefined) return held;
      throw new MillraceError(
        'unavailable',
        'SEGMENT_LOST',
        `the segment of ${task} (attempt ${attempt}) for checkpoint ${checkpointId} is not on host ${this.#host}`,
        { context: { task, attempt, checkpointId } },
      );
    });
    const total = segments.reduce((sum, s) => sum + s.bytes.byteLength, 0);
    const inline = total <= this.#inlineBytesMax;
    const object = inline ? '' : segmentObjectName(epoch, checkpointId, this.#host, this.#random.nonce());
    const refs = new Map<string, SegmentRef>();
    let offset = 0;
    for (const { task, bytes, described } of segments) {
      assert(!refs.has(task), `task ${task} stands twice in checkpoint ${checkpointId}`);
      const ref = { ...described, object, offset, deltas: 1 };
      refs.set(task, inline ? { ...ref, offset: 0, inline: Buffer.from(bytes).toString('base64') } : ref);
      offset += bytes.byteLength;
    }
    if (!inline) await this.#store.put(object, Buffer.concat(segments.map((s) => s.bytes)));
    return refs;
  }

  #fence(epoch: number): void {
    if (epoch < this.#epoch) {
      throw new MillraceError(
        'fenced',
        'EPOCH_STALE',
        `host ${this.#host}: an order of epoch ${epoch} came after one of epoch ${this.#epoch}`,
        { context: { epoch, current: this.#epoch } },
      );
    }
    this.#epoch = epoch;
  }

  #forget(concerned: (checkpointId: number) => boolean): void {
    for (const [token, held] of this.#held) if (concerned(held.checkpointId)) this.#release(token);
    for (const [key, stored] of this.#stored) if (concerned(stored.checkpointId)) this.#stored.delete(key);
  }

  #release(token: string): void {
    const held = this.#held.get(token);
    if (held === undefined) return;
    this.#held.delete(token);
    this.#heldBytes -= held.bytes.byteLength;
  }
}

function tokenOf(task: string, attempt: number, checkpointId: number): string {
  return `${checkpointId}/${attempt}/${task}`;
}
