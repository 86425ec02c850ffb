import { MillraceError, type SharedMemory, type SharedRegion, xxh64 } from '../base/index.js';
import { layoutUnknown } from './shuffle-errors.js';

/**
 * Where a writer's or partition's current task log is: a tiny region under the hash of the name, so that any process
 * finds a log without asking the service.
 *
 *     words: magic | version | log number (0: released) | ordinal of the partition in its writer | id length
 *     from byte 64: the id, to tell hash collisions
 */
export interface LogPointer {
  readonly region: SharedRegion;
  readonly id: string;
  readonly ordinal: number;
  /** The number of the current log; 0 once the writer was released. */
  readonly logNumber: number;
  setLogNumber(logNumber: number): void;
}

export type PointerKind = 'writer' | 'partition';

export function pointerRegion(kind: PointerKind, id: string): string {
  return `${POINTER_PREFIX}${kind}-${xxh64(Buffer.from(id)).toString(16)}`;
}

export const POINTER_PREFIX = 'shuffle-at-';

/** @throws `MEMORY_EXISTS`, `MEMORY_FULL`. */
export async function createPointer(
  memory: SharedMemory,
  kind: PointerKind,
  id: string,
  ordinal: number,
): Promise<LogPointer> {
  const bytes = Buffer.from(id);
  const region = await memory.create(pointerRegion(kind, id), 64 + Math.ceil((bytes.length + 1) / 64) * 64);
  region.words.set([0, VERSION, 0, ordinal, bytes.length]);
  region.bytes.set(bytes, 64);
  Atomics.store(region.words, 0, MAGIC);
  return pointerOver(region, id);
}

/** Undefined when there is no such writer or partition. */
export async function openPointer(
  memory: SharedMemory,
  kind: PointerKind,
  id: string,
  access: 'read' | 'write',
): Promise<LogPointer | undefined> {
  try {
    return pointerOver(await memory.open(pointerRegion(kind, id), access), id);
  } catch (e) {
    if (e instanceof MillraceError && e.code === 'MEMORY_NOT_FOUND') return undefined;
    throw e;
  }
}

function pointerOver(region: SharedRegion, id: string): LogPointer {
  const { words } = region;
  if (words[0] !== MAGIC || words[1] !== VERSION) throw layoutUnknown(region.name, 'it is not a log pointer');
  const stored = Buffer.from(region.bytes.slice(64, 64 + (words[4] as number))).toString();
  if (stored !== id) throw layoutUnknown(region.name, `it is of "${stored}", whose name has the hash of "${id}"`);
  return {
    region,
    id,
    ordinal: words[3] as number,
    get logNumber() {
      return Atomics.load(words, 2);
    },
    setLogNumber(logNumber) {
      Atomics.store(words, 2, logNumber);
    },
  };
}

const MAGIC = 0x4d525054;
const VERSION = 1;
