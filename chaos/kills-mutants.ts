/** Decisions broken on purpose, from outside: what a process reads or writes is changed on the way. */
import {
  type BlobStore,
  decodeHead,
  encodeHead,
  type Head,
  type SegmentHome,
  type SegmentOwner,
  type SegmentRef,
} from '../checkpoint/index.js';
import { Compactions, type SchedulerEffect } from '../engine/scheduler/index.js';

export const killsMutants = [
  'collectorIgnoresLine',
  'collectorIgnoresPins',
  'collectorReadsPinsFirst',
  'pinWithoutSecondLook',
  'publishWithoutNonce',
  'compactionAppliedBlindly',
  'deltaUnderOldName',
  'reservationReleasedEarly',
  'collectorOverlooksManifests',
  'movesWithoutCondition',
] as const;
export type KillsMutant = (typeof killsMutants)[number];

/** Every call of one process's store, to be changed. */
class Altered implements BlobStore {
  readonly location: string;
  protected readonly inner: BlobStore;

  constructor(inner: BlobStore) {
    this.inner = inner;
    this.location = inner.location;
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.inner.put(name, bytes);
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.inner.get(name, range);
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.inner.stat(name);
  }

  delete(name: string): Promise<void> {
    return this.inner.delete(name);
  }

  list(prefix: string): Promise<string[]> {
    return this.inner.list(prefix);
  }

  read(name: string): ReturnType<BlobStore['read']> {
    return this.inner.read(name);
  }

  compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    return this.inner.compareAndSet(name, expected, bytes);
  }
}

function withHead(read: Awaited<ReturnType<BlobStore['read']>>, change: (head: Head) => Head) {
  return read && { ...read, bytes: encodeHead(change(decodeHead(read.bytes, 'altered'))) };
}

/** Takes everything that is not marked for dead. */
class IgnoresLine extends Altered {
  override async read(name: string): ReturnType<BlobStore['read']> {
    return withHead(await this.inner.read(name), (head) => ({ ...head, line: Number.MAX_SAFE_INTEGER }));
  }
}

class IgnoresPins extends Altered {
  override async list(prefix: string): Promise<string[]> {
    return prefix === 'pins/' ? [] : this.inner.list(prefix);
  }
}

/** Reads the pins before HEAD: a checkpoint pinned in between, and given up by HEAD, is nobody's. */
class ReadsPinsFirst extends Altered {
  #pins: string[] = [];

  override async read(name: string): ReturnType<BlobStore['read']> {
    this.#pins = await this.inner.list('pins/');
    return this.inner.read(name);
  }

  override async list(prefix: string): Promise<string[]> {
    return prefix === 'pins/' ? this.#pins : this.inner.list(prefix);
  }
}

/** Does not look whether HEAD still keeps what it has pinned: sees HEAD as it was before. */
class WithoutSecondLook extends Altered {
  #before: Awaited<ReturnType<BlobStore['read']>>;
  #isPinned = false;

  override async put(name: string, bytes: Uint8Array): Promise<void> {
    this.#isPinned = true;
    await this.inner.put(name, bytes);
  }

  override async read(name: string): ReturnType<BlobStore['read']> {
    const isSecond = this.#isPinned;
    this.#isPinned = false;
    if (!isSecond) this.#before = await this.inner.read(name);
    return this.#before;
  }
}

class OverlooksManifests extends Altered {
  override async list(prefix: string): Promise<string[]> {
    return prefix === 'manifests/' ? [] : this.inner.list(prefix);
  }
}

/** As over a store that ignores `If-Match`. */
class WithoutCondition extends Altered {
  override async compareAndSet(name: string, _expected: string | undefined, bytes: Uint8Array): Promise<string> {
    return this.inner.compareAndSet(name, (await this.inner.read(name))?.version, bytes);
  }
}

/** Takes any HEAD that came after a failed move for its own. */
class WithoutNonce extends Altered {
  #failed: { readonly nonce: string; readonly expected: string | undefined } | undefined;

  override async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    this.#failed = undefined;
    try {
      return await this.inner.compareAndSet(name, expected, bytes);
    } catch (thrown) {
      this.#failed = { nonce: decodeHead(bytes, 'altered').nonce, expected };
      throw thrown;
    }
  }

  override async read(name: string): ReturnType<BlobStore['read']> {
    const read = await this.inner.read(name);
    const failed = this.#failed;
    this.#failed = undefined;
    if (failed === undefined || read?.version === failed.expected) return read;
    return withHead(read, (head) => ({ ...head, nonce: failed.nonce }));
  }
}

export function alteredStore(
  store: BlobStore,
  mutant: KillsMutant | undefined,
  role: 'leader' | 'collector' | 'reader' | 'other',
): BlobStore {
  if (role === 'collector') {
    if (mutant === 'collectorIgnoresLine') return new IgnoresLine(store);
    if (mutant === 'collectorIgnoresPins') return new IgnoresPins(store);
    if (mutant === 'collectorReadsPinsFirst') return new ReadsPinsFirst(store);
  }
  if (mutant === 'collectorOverlooksManifests') return new OverlooksManifests(store);
  if (role === 'leader' && mutant === 'movesWithoutCondition') return new WithoutCondition(store);
  if (role === 'reader' && mutant === 'pinWithoutSecondLook') return new WithoutSecondLook(store);
  if (role === 'leader' && mutant === 'publishWithoutNonce') return new WithoutNonce(store);
  return store;
}

/** Gives out again, under their old names, what was stored for a checkpoint before it was aborted. */
export function forgetfulHome(home: SegmentHome): Pick<SegmentHome, keyof SegmentHome> {
  const stored = new Map<string, Map<string, SegmentRef>>();
  return new Proxy(home, {
    get(target, key) {
      if (key === 'persist') {
        return async (checkpointId: number, epoch: number, tasks: readonly SegmentOwner[]) => {
          const name = `${checkpointId}/${tasks.map((t) => `${t.task}/${t.attempt}`).join()}`;
          const known = stored.get(name);
          if (known !== undefined) return known;
          const refs = await target.persist(checkpointId, epoch, tasks);
          stored.set(name, refs);
          return refs;
        };
      }
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Brings in the outputs of a merge once, wherever its inputs were, also when they are no longer there. */
export class BlindCompactions extends Compactions {
  readonly #inputs = new Map<number, readonly SegmentRef[]>();
  readonly #tasks = new Map<number, string>();
  readonly #ready = new Map<
    string,
    { readonly inputs: readonly SegmentRef[]; readonly outputs: readonly SegmentRef[] }
  >();

  override begin(tasks: Parameters<Compactions['begin']>[0]): SchedulerEffect[] {
    const all = [...tasks];
    const effects = super.begin(all);
    for (const effect of effects) {
      if (effect.kind !== 'compact') continue;
      const { inputs } = effect.plan;
      this.#inputs.set(effect.compaction, inputs);
      this.#tasks.set(effect.compaction, all.find((t) => t.segments.includes(inputs[0] as SegmentRef))?.name ?? '');
    }
    return effects;
  }

  override stored(id: number, outputs: readonly SegmentRef[]): SchedulerEffect[] {
    this.#ready.set(this.#tasks.get(id) ?? '', { inputs: this.#inputs.get(id) ?? [], outputs });
    return super.stored(id, outputs);
  }

  override applied(task: string, segments: readonly SegmentRef[]): readonly SegmentRef[] {
    const ready = this.#ready.get(task);
    if (ready === undefined) return segments;
    this.#ready.delete(task);
    const rest = segments.filter((ref) => !ready.inputs.some((input) => isSame(input, ref)));
    const first = segments.findIndex((ref) => ready.inputs.some((input) => isSame(input, ref)));
    return [...rest.slice(0, first), ...ready.outputs, ...rest.slice(first)];
  }
}

function isSame(a: SegmentRef, b: SegmentRef): boolean {
  return a.object === b.object && a.offset === b.offset && a.checksum === b.checksum;
}
