import type { RegionBuffer } from './region-file.js';
import { partitionLost } from './shuffle-errors.js';

/** Reads buffers that are on the service's disks: from `seq` on, in order, at least one; none when it is not there yet. */
export type ReadSpilled = (
  partition: string,
  subpartition: number,
  seq: number,
  bytesMax: number,
) => Promise<readonly RegionBuffer[]>;

/** Fetches one subpartition's buffers from disk, some ahead of their reader. */
export class SpilledReader {
  readonly #read: ReadSpilled;
  readonly #fetchBytes: number;
  readonly #partition: string;
  readonly #subpartition: number;
  /** Called when something came. */
  readonly #wake: () => void;
  #fetched: RegionBuffer[] = [];
  #taken = 0;
  #ahead: Promise<void> | undefined;
  #next: RegionBuffer[] = [];
  #failure: unknown;

  constructor(read: ReadSpilled, partition: string, subpartition: number, fetchBytes: number, wake: () => void) {
    this.#read = read;
    this.#fetchBytes = fetchBytes;
    this.#partition = partition;
    this.#subpartition = subpartition;
    this.#wake = wake;
  }

  /** The buffer at `seq` when it is here; otherwise it is fetched, and `wake` called. @throws what the fetch threw. */
  peek(seq: number): RegionBuffer | undefined {
    const buffer = this.#fetched[this.#taken];
    if (buffer?.seq === seq) {
      if (this.#next.length === 0) this.#fetch((this.#fetched.at(-1)?.seq ?? seq) + 1, false);
      return buffer;
    }
    if (this.#next[0]?.seq === seq) {
      this.#fetched = this.#next;
      this.#next = [];
      this.#taken = 0;
      return this.peek(seq);
    }
    if (this.#failure !== undefined) throw this.#failure;
    this.#fetch(seq, true);
    return undefined;
  }

  /** Whether `peek` would return or throw something. */
  has(seq: number): boolean {
    if (this.#fetched[this.#taken]?.seq === seq || this.#next[0]?.seq === seq || this.#failure !== undefined)
      return true;
    this.#fetch(seq, true);
    return false;
  }

  /** Moves past the buffer that `peek` returned. */
  advance(): void {
    this.#taken++;
  }

  /** `wanted`: it was said to be there, so that nothing means that it is lost; asking again would be for ever. */
  #fetch(seq: number, wanted: boolean): void {
    if (this.#ahead !== undefined || this.#failure !== undefined) return;
    this.#ahead = this.#read(this.#partition, this.#subpartition, seq, this.#fetchBytes)
      .then(
        (buffers) => {
          this.#next = [...buffers];
          if (!wanted || buffers.length > 0) return;
          this.#failure = partitionLost(
            this.#partition,
            this.#subpartition,
            seq,
            'it was on disk, and is not any more',
          );
        },
        (error: unknown) => {
          this.#failure = error;
        },
      )
      .finally(() => {
        this.#ahead = undefined;
        this.#wake();
      });
  }
}

/** What each of so many channels reads from disk at a time: seeks are dear, and two such reads are in memory for each. */
export function fetchBytesFor(channels: number): number {
  return Math.max(FETCH_BYTES_MIN, Math.min(FETCH_BYTES_MAX, Math.floor(FETCH_BYTES_OF_GATE / channels)));
}

const FETCH_BYTES_MIN = 64 * 1024;
const FETCH_BYTES_MAX = 4 * 1024 * 1024;
const FETCH_BYTES_OF_GATE = 32 * 1024 * 1024;
