import { applyCompaction } from '../plan-compaction.js';
import type { Head } from './head.js';
import type { Move } from './head-model-move.test.support.js';
import {
  absentWriter,
  readManifests,
  type Setup,
  segmentsOf,
  send,
  type World,
  type Writer,
  withWriter,
} from './head-model-world.test.support.js';

/*
 * What a leader knows once its move is settled, and what it then tells others.
 */

export const writerAt = (world: World, index: number) => world.writers[index] as Writer;

/** HEAD was moved, as the leader sees it (`CheckpointStore.#lead`, `publish`). */
export function moved(world: World, index: number, setup: Setup): World {
  const { move, unknown } = writerAt(world, index);
  if (move === null) throw new Error('no move is under way');
  const settled = withWriter(world, index, {
    seen: move.head,
    move: null,
    attempt: 0,
    unknown: unknown.filter((ticket) => ticket !== move.ticket),
  });
  return move.kind === 'publish' ? published(settled, index, move) : led(settled, index, move, setup);
}

function published(world: World, index: number, { manifest }: Move): World {
  const { compaction, landed } = writerAt(world, index);
  const isOver =
    compaction?.stored === true &&
    applyCompaction(segmentsOf(manifest), compaction.inputs, [compaction.output]) === undefined;
  const told = withWriter(world, index, {
    at: 'ready',
    latest: manifest,
    pending: null,
    landed: false,
    // Brought in, or never to be: its reservation is released.
    compaction: isOver ? null : compaction,
  });
  return landed ? told : broken(told, `checkpoint ${manifest?.checkpointId} was told to be complete, and never was`);
}

function led(world: World, index: number, move: Move, setup: Setup): World {
  const { doubt } = writerAt(world, index);
  const latest = readManifests(world, move.head)?.[0] ?? null;
  const leading = withWriter(withoutCompaction(world, index), index, {
    at: 'ready',
    leads: true,
    led: move.head.epoch,
    latest,
    begun: 0,
    unknown: [],
  });
  if (doubt === null) return withWriter(leading, index, { landed: false, pending: null });
  if (!isInHead(move.head, doubt)) return failed(leading, index, doubt, setup);
  const told = withWriter(leading, index, { doubt: null, landed: false, pending: null });
  if (writerAt(world, index).landed) return told;
  return broken(told, `checkpoint ${latest?.checkpointId} was told to be complete, and never was`);
}

/** Whether a publication is complete, as the driver has it after a regain. */
export function isInHead({ latest }: Head, { manifest }: Move): boolean {
  return latest?.checkpointId === manifest?.checkpointId && latest?.epoch === manifest?.epoch;
}

/** The leader is told that a publication did not happen and never will. */
export function failed(world: World, index: number, publication: Move, { decisions }: Setup): World {
  const { landed, pending } = writerAt(world, index);
  const flying = world.flying.map((request) =>
    'move' in request && request.move.ticket === publication.ticket
      ? { move: { ...request.move, denied: true } }
      : request,
  );
  const again = decisions.reissued === 'as it was' && pending !== null;
  const told = withWriter({ ...world, flying }, index, {
    at: again ? 'stored' : 'ready',
    pending: again ? pending : null,
    move: null,
    attempt: 0,
    doubt: null,
    landed: false,
  });
  if (!landed) return told;
  return broken(told, `checkpoint ${publication.manifest?.checkpointId} was told to have failed, and is complete`);
}

/** The leader is told that another one has replaced it, and ends. */
export function fenced(world: World, index: number): World {
  const gone = forgotten(world, index);
  if (!writerAt(world, index).owns) return gone;
  return broken(gone, 'a leader was told that it was replaced, and HEAD’s last move was its own');
}

/** A process that is no more. */
export function forgotten(world: World, index: number): World {
  return withWriter(withoutCompaction(world, index), index, absentWriter);
}

/** A merge in some daemon goes on when its leader wants it no more. */
function withoutCompaction(world: World, index: number): World {
  const { compaction } = writerAt(world, index);
  if (compaction === null) return world;
  const left = withWriter(world, index, { compaction: null });
  const { object, checksum } = compaction.output;
  return compaction.stored ? left : send(left, { put: { name: object, value: checksum } });
}

function broken(world: World, problem: string): World {
  return { ...world, problem: world.problem ?? problem };
}
