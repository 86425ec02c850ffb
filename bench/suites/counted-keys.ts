import { join } from 'node:path';
import { nodeByteFiles, type Random, seededRandom } from '../../base/index.js';
import { type KeyGroups, SegmentBuilder } from '../../checkpoint/index.js';
import { type Line, lmdbBaseStores, type StateFolder, StateView } from '../../statestore/index.js';
import { openMachineFolder } from './machine-folder.js';

export const KEY_GROUPS = 128;
const KEY_BYTES = 8;
export const STATE = 'counts';
const META = Uint8Array.of(1);
/** Of one segment, so that filling a folder does not need memory for all of the state. */
const SEGMENT_BYTES_TARGET = 64 * 2 ** 20;

/** Keys 0 to `keys` - 1: number n is in key group n % 128, and ordered there by n. */
export interface CountedKeys {
  readonly keys: number;
  readonly payloadBytes: number;
}

export function keyGroupOfNumber(n: number): number {
  return n % KEY_GROUPS;
}

/** 8 bytes, big-endian, into `key`. */
export function writeKey(key: Uint8Array, n: number): void {
  const high = Math.floor(n / 2 ** 32);
  key.fill(0, 0, 4);
  key[2] = high >>> 8;
  key[3] = high;
  key[4] = n >>> 24;
  key[5] = n >>> 16;
  key[6] = n >>> 8;
  key[7] = n;
}

/** A segment of some key groups: all of their keys, or `perGroup` of each, chosen at random. */
export function segmentOf(
  { keys, payloadBytes }: CountedKeys,
  range: KeyGroups,
  checkpointId: number,
  changed?: { readonly perGroup: number; readonly random: Random },
): Uint8Array {
  const perGroup = Math.floor(keys / KEY_GROUPS);
  const count = (changed?.perGroup ?? perGroup) * (range.last - range.first + 1);
  const builder = new SegmentBuilder({
    checkpointId,
    full: changed === undefined,
    range,
    states: [{ name: STATE, meta: META, value: undefined }],
    capacity: count * (KEY_BYTES + payloadBytes + 6),
  });
  const key = new Uint8Array(KEY_BYTES);
  const payload = new Uint8Array(payloadBytes).fill(checkpointId);
  for (let group = range.first; group <= range.last; group++) {
    const add = (at: number): void => {
      writeKey(key, at * KEY_GROUPS + group);
      builder.begin(group, 0, KEY_BYTES, 0, payloadBytes, false);
      builder.writer.bytes(key, 0, KEY_BYTES);
      builder.writer.bytes(payload, 0, payloadBytes);
    };
    if (changed === undefined) for (let at = 0; at < perGroup; at++) add(at);
    else for (const at of sortedSample(changed.random, perGroup, changed.perGroup)) add(at);
  }
  return builder.finish().bytes;
}

/** Some of the numbers below `below`, ascending, each at most once. */
function sortedSample(random: Random, below: number, count: number): number[] {
  const chosen = new Set<number>();
  while (chosen.size < Math.min(count, below)) chosen.add(random.below(below));
  return [...chosen].sort((a, b) => a - b);
}

/** A state folder on disk, as a daemon has it, with one checkpoint of all keys in its base; then more on top. */
export class CountedFolder {
  readonly folder: StateFolder;
  readonly root: string;
  readonly state: CountedKeys;
  readonly #random = seededRandom(11);
  #checkpointId = 0;

  private constructor(folder: StateFolder, root: string, state: CountedKeys) {
    this.folder = folder;
    this.root = root;
    this.state = state;
  }

  static async filled(root: string, state: CountedKeys, progress: (text: string) => void): Promise<CountedFolder> {
    const folder = await openMachineFolder(root, { foldShare: 1, segmentsMax: Number.POSITIVE_INFINITY });
    await folder.startEmpty({ first: 0, last: KEY_GROUPS - 1 });
    const filled = new CountedFolder(folder, root, state);
    const parts = Math.min(
      KEY_GROUPS,
      2 ** Math.ceil(Math.log2(1 + (state.keys * (state.payloadBytes + 14)) / SEGMENT_BYTES_TARGET)),
    );
    progress(`${state.keys} keys of ${state.payloadBytes} bytes: segments`);
    await filled.#checkpoint(parts, (range, checkpointId) => segmentOf(state, range, checkpointId));
    progress(`${state.keys} keys of ${state.payloadBytes} bytes: base`);
    await folder.fold();
    return filled;
  }

  /** One more completed checkpoint, with so many changed keys. */
  async change(keys: number): Promise<void> {
    const changed = { perGroup: Math.ceil(keys / KEY_GROUPS), random: this.#random };
    await this.#checkpoint(1, (range, checkpointId) => segmentOf(this.state, range, checkpointId, changed));
  }

  view(range: KeyGroups = { first: 0, last: KEY_GROUPS - 1 }): Promise<StateView> {
    return StateView.open(this.folder.describe(), { bases: lmdbBaseStores(), files: nodeByteFiles(), range });
  }

  close(): Promise<void> {
    return this.folder.close();
  }

  async #checkpoint(parts: number, make: (range: KeyGroups, checkpointId: number) => Uint8Array): Promise<void> {
    const line: Line = { checkpointId: ++this.#checkpointId, epoch: 1 };
    const each = KEY_GROUPS / parts;
    const segments: { readonly checksum: string; readonly first: number; readonly last: number }[] = [];
    for (let i = 0; i < parts; i++) {
      const range = { first: i * each, last: (i + 1) * each - 1 };
      segments.push({ ...range, checksum: await this.folder.hold(make(range, line.checkpointId)) });
    }
    await this.folder.completed(line, segments);
  }
}

export function stateRoot(folder: string, name: string): string {
  return join(folder, `state-${name}`);
}
