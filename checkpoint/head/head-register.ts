import { MillraceError } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { decodeHead, encodeHead, type Head } from './head.js';
import { canRegain, settleMove } from './head-protocol.js';

/** The name of the one mutable value. */
export const headName = 'HEAD';
/** What helps where HEAD is gone or damaged. */
const repairHint = '`millrace checkpoints repair` looks for what else there is';
/** Tries of one move whose outcome is unknown. Waiting is a wrapper's business. */
const attemptsMax = 5;

export interface ReadHead {
  readonly head: Head;
  readonly version: string;
}

/** @throws MillraceError `STORE_UNAVAILABLE`, `HEAD_CORRUPT`, `HEAD_VERSION`. */
export async function readHead(store: BlobStore): Promise<ReadHead | undefined> {
  try {
    const value = await store.read(headName);
    if (value === undefined) return undefined;
    return { head: decodeHead(value.bytes, store.location), version: value.version };
  } catch (thrown) {
    const { kind, code, message } = MillraceError.from(thrown);
    if (kind !== 'corrupt') throw thrown;
    throw new MillraceError('corrupt', code, `${message}; ${repairHint}`, { cause: thrown });
  }
}

/**
 * Where there is no HEAD: segments are written under an epoch, and an epoch begins in HEAD, so where there are some, there was one.
 * @throws MillraceError `HEAD_MISSING` (corrupt): this is not a job's beginning; `STORE_UNAVAILABLE`.
 */
export async function refuseLostHead(store: BlobStore): Promise<void> {
  const [object] = await store.list('segments/');
  // The job's first leader may have come between: then it is no longer missing.
  if (object === undefined || (await store.read(headName)) !== undefined) return;
  throw new MillraceError(
    'corrupt',
    'HEAD_MISSING',
    `${store.location}: HEAD is gone, though there are segments of checkpoints (${object}); this is not a job's beginning; ${repairHint}`,
    { context: { object } },
  );
}

/** HEAD as one process last saw it, and its moves. */
export class HeadRegister {
  readonly #store: BlobStore;
  #current: ReadHead | undefined;
  /** Of moves whose outcome is unknown: a HEAD that has one of these nonces was moved by nobody else. */
  readonly #unknown = new Set<string>();

  constructor(store: BlobStore) {
    this.#store = store;
  }

  get head(): Head | undefined {
    return this.#current?.head;
  }

  /** Whether HEAD, as last seen, is of this epoch, or is where a move of ours with an unknown outcome would have put it. */
  canRegain(epoch: number): boolean {
    return canRegain(this.head, epoch, this.#unknown);
  }

  async refresh(): Promise<Head | undefined> {
    this.#current = await readHead(this.#store);
    return this.head;
  }

  /**
   * Moves HEAD from where it was last seen. Trying again after an unknown outcome is safe: the expected version is the
   * same, so the move happens at most once, and its nonce tells whether it was ours.
   * @throws MillraceError `LEADER_FENCED` (fenced): somebody else moved it; `STORE_UNAVAILABLE`: it may have moved or may yet.
   */
  async move(head: Head): Promise<void> {
    const bytes = encodeHead(head);
    const expected = this.#current?.version;
    for (let attempt = 1; ; attempt++) {
      try {
        this.#current = { head, version: await this.#store.compareAndSet(headName, expected, bytes) };
        this.#unknown.delete(head.nonce);
        return;
      } catch (thrown) {
        if (!isUncertain(thrown)) throw thrown;
        // From here on, whatever else goes wrong.
        this.#unknown.add(head.nonce);
        const read = await readHead(this.#store).catch((readError: unknown) => {
          if (!isUncertain(readError)) throw readError;
          return 'unreadable' as const;
        });
        if (read !== 'unreadable') {
          const outcome = settleMove(read && { nonce: read.head.nonce, version: read.version }, {
            nonce: head.nonce,
            expected,
          });
          if (outcome !== 'not moved') this.#current = read;
          if (outcome === 'moved') this.#unknown.delete(head.nonce);
          if (outcome === 'moved') return;
          if (outcome === 'fenced') throw fenced(this.#store, head.epoch, read?.head.epoch ?? 0);
        }
        if (attempt < attemptsMax) continue;
        throw new MillraceError(
          'unavailable',
          'STORE_UNAVAILABLE',
          `it is unknown whether HEAD was moved, take over again to find out: ${(thrown as Error).message}`,
          { cause: thrown },
        );
      }
    }
  }

  /** A later move went through: earlier ones can happen no more. */
  settled(): void {
    this.#unknown.clear();
  }
}

export function fenced(store: BlobStore, mine: number, current: number): MillraceError {
  return new MillraceError(
    'fenced',
    'LEADER_FENCED',
    `${store.location}: the leader of epoch ${mine} was replaced; HEAD is at epoch ${current}`,
    { context: { epoch: mine, headEpoch: current } },
  );
}

function isUncertain(thrown: unknown): boolean {
  return thrown instanceof MillraceError && (thrown.code === 'CAS_CONFLICT' || thrown.code === 'STORE_UNAVAILABLE');
}
