import type { Manifest, SegmentRef } from '../manifest.js';
import { type Head, type HeadManifest, isMoved } from './head.js';
import type { Decisions } from './head-model-decisions.test.support.js';
import { type Move, moveProblem, versionOf } from './head-model-move.test.support.js';
import { keptBy } from './head-protocol.js';

/** A small configuration, explored whole. */
export interface Setup {
  readonly name: string;
  readonly decisions: Decisions;
  readonly writers: number;
  readonly collectors: number;
  readonly readers: number;
  /** The id of the final checkpoint, and the epoch above which nobody takes over. */
  readonly idMax: number;
  readonly epochMax: number;
  /** Complete checkpoints that HEAD keeps. */
  readonly retained: number;
  /** Manifests stand outside HEAD, each in an object. */
  readonly movesManifests: boolean;
  /** Segments that a checkpoint takes over from the one it builds on: 0 = full snapshots. */
  readonly carried: number;
  /** What a checkpoint may build on. */
  readonly bases: 'latest' | 'kept' | 'kept or pinned';
  /** Tries of one move (`attemptsMax` of HeadRegister). */
  readonly attemptsMax: number;
  /** Whether objects that no collection will ever delete are a problem too: those of an old epoch, say, hide all else. */
  readonly findsLeaks: boolean;
  readonly budget: Budget;
}

/** What may still go wrong, or be asked for, in the rest of a run. */
export interface Budget {
  /** Requests whose sender is told nothing; they arrive later, or never. And reads without an answer. */
  readonly unanswered: number;
  /** Leaders that lose all they know, and start anew. */
  readonly crashes: number;
  readonly resets: number;
  readonly rollBacks: number;
  readonly compactions: number;
  /** Checkpoints given up by their leader after their objects were stored. */
  readonly aborts: number;
}

/** A segment's bytes are one word, which the refs to it carry as checksum. Of manifests and pins: the manifest. */
export interface StoredObject {
  readonly name: string;
  readonly value: string | Manifest;
}

/** A request whose sender waits no longer. */
export type Request = { readonly put: StoredObject } | { readonly move: Move };

export interface Compaction {
  readonly epoch: number;
  readonly checkpointId: number;
  readonly inputs: readonly SegmentRef[];
  readonly output: SegmentRef;
  readonly stored: boolean;
}

/** One leader's memory: CheckpointStore with its HeadRegister, and what the engine's driver and the segment home hold. */
export interface Writer {
  readonly at: 'off' | 'looked' | 'move' | 'settle' | 'ready' | 'stored' | 'manifests' | 'regain' | 'stopped';
  readonly leads: boolean;
  /** HEAD, and so its version, as last seen. */
  readonly seen: Head | null;
  /** Its manifest. */
  readonly latest: Manifest | null;
  readonly begun: number;
  readonly move: Move | null;
  readonly attempt: number;
  /** Tickets of moves of unknown outcome. */
  readonly unknown: readonly string[];
  /** Epoch of its last takeover. */
  readonly led: number;
  /** A checkpoint found to go back to, and the newest of that time: to take the id after that. */
  readonly found: { readonly manifest: Manifest; readonly newest: HeadManifest } | null;
  /** The publication that a regain has to settle. */
  readonly doubt: Move | null;
  readonly pending: {
    readonly checkpointId: number;
    readonly base: readonly SegmentRef[];
    readonly ref: SegmentRef;
  } | null;
  readonly compaction: Compaction | null;
  /** For the checker: whether the publication under way (or in doubt) has reached HEAD, and whether HEAD's last move was its own. */
  readonly landed: boolean;
  readonly owns: boolean;
}

export const absentWriter: Writer = Object.freeze({
  at: 'off',
  leads: false,
  seen: null,
  latest: null,
  begun: 0,
  move: null,
  attempt: 0,
  unknown: [],
  led: 0,
  found: null,
  doubt: null,
  pending: null,
  compaction: null,
  landed: false,
  owns: false,
});

export interface Collector {
  readonly at: 'off' | 'HEAD' | 'manifests' | 'pins' | 'pinned manifests' | 'list' | 'delete' | 'done';
  readonly head: Head | null;
  readonly marked: readonly string[];
  /** Pins listed; then objects to delete. */
  readonly names: readonly string[];
}

export interface Reader {
  readonly at: 'off' | 'put' | 'check' | 'pinned' | 'withdraw' | 'done';
  readonly pin: string;
  readonly manifest: Manifest | null;
}

/** One state. Immutable; parts are shared between states. */
export interface World {
  readonly head: Head | null;
  readonly objects: readonly StoredObject[];
  readonly flying: readonly Request[];
  readonly budget: Budget;
  readonly writers: readonly Writer[];
  readonly collectors: readonly Collector[];
  readonly readers: readonly Reader[];
  /** What the last step has shown to be wrong. */
  readonly problem: string | undefined;
}

export function refTo(object: string, checksum: string): SegmentRef {
  return { object, checksum, offset: 0, length: 1, indexBytes: 1, full: false, first: 0, last: 0, deltas: 1 };
}

export function manifestOf(
  epoch: number,
  checkpointId: number,
  segments: readonly SegmentRef[],
  final: boolean,
): Manifest {
  const tasks = [{ task: 't', finished: false, segments, position: '' }];
  return { format: 2, checkpointId, epoch, tasks, meta: '', final };
}

export const segmentsOf = (manifest: Manifest | null): readonly SegmentRef[] => manifest?.tasks[0]?.segments ?? [];

export function initialWorld({ writers, collectors, readers, budget }: Setup): World {
  const times = <T>(n: number, value: T): T[] => Array.from({ length: n }, () => value);
  return {
    head: null,
    objects: [],
    flying: [],
    budget,
    writers: times(writers, absentWriter),
    collectors: times<Collector>(collectors, { at: 'off', head: null, marked: [], names: [] }),
    readers: times<Reader>(readers, { at: 'off', pin: '', manifest: null }),
    problem: undefined,
  };
}

// ---- the store, one atomic step each ----

export function get(world: World, name: string): string | Manifest | undefined {
  return world.objects.find((object) => object.name === name)?.value;
}

/** All manifests of a HEAD that was read, or undefined when one of them is gone. */
export function readManifests(world: World, head: Head): Manifest[] | undefined {
  const manifests: Manifest[] = [];
  for (const kept of keptBy(head)) {
    const manifest = isMoved(kept) ? get(world, kept.object) : kept;
    if (manifest === undefined || typeof manifest === 'string') return undefined;
    manifests.push(manifest);
  }
  return manifests;
}

/** Undefined when the name is taken. */
export function put(world: World, object: StoredObject): World | undefined {
  const at = world.objects.findIndex(({ name }) => name >= object.name);
  if (at >= 0 && world.objects[at]?.name === object.name) return undefined;
  const objects = [...world.objects];
  objects.splice(at < 0 ? objects.length : at, 0, object);
  return { ...world, objects };
}

export function remove(world: World, name: string): World {
  return { ...world, objects: world.objects.filter((object) => object.name !== name) };
}

/** The compare-and-set arrives; undefined when HEAD is not where it should be. */
export function compareAndSet(world: World, move: Move, setup: Setup): World | undefined {
  const { storeHeedsVersions } = setup.decisions;
  if (storeHeedsVersions && versionOf(world.head) !== versionOf(move.expected)) return undefined;
  const isOf = (writer: Writer) =>
    writer.move?.ticket === move.ticket || writer.doubt?.ticket === move.ticket || writer.unknown.includes(move.ticket);
  const writers = world.writers.map((writer) => {
    const owns = isOf(writer);
    const publication = writer.doubt ?? writer.move;
    const landed = writer.landed || publication?.ticket === move.ticket;
    return owns === writer.owns && landed === writer.landed ? writer : { ...writer, owns, landed };
  });
  // HEAD is never again what it was (its nonces differ), so what waits for that can be forgotten.
  const forget = storeHeedsVersions && setup.decisions.nonceOfMove('n1') === 'n1';
  const flying = forget
    ? world.flying.filter((request) => 'put' in request || versionOf(request.move.expected) === versionOf(move.head))
    : world.flying;
  return { ...world, head: move.head, writers, flying, problem: moveProblem(world.head, move, setup.retained) };
}

export function send(world: World, request: Request): World {
  return { ...world, flying: [...world.flying, request] };
}

/** Undefined when there is none left. */
export function spend(world: World, what: keyof Budget): World | undefined {
  const left = world.budget[what];
  return left === 0 ? undefined : { ...world, budget: { ...world.budget, [what]: left - 1 } };
}

export function withWriter(world: World, index: number, change: Partial<Writer>): World {
  return { ...world, writers: world.writers.map((writer, i) => (i === index ? { ...writer, ...change } : writer)) };
}
