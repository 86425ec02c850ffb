import { segmentObjectName } from '../blob/blob-name.js';
import type { Manifest } from '../manifest.js';
import type { Head } from './head.js';
import * as real from './head-protocol.js';

/**
 * All that the model decides by: the real functions of the protocol, and as data what stands in the code around them
 * (HeadRegister, CheckpointStore, SegmentHome, collectGarbage, pin, RetryingBlobStore, and the engine's driver).
 */
export interface Decisions {
  readonly headAfterTakeOver: typeof real.headAfterTakeOver;
  readonly headAfterPublish: typeof real.headAfterPublish;
  readonly settleMove: typeof real.settleMove;
  readonly collectable: typeof real.collectable;
  readonly deadReferences: typeof real.deadReferences;
  readonly markedBy: typeof real.markedBy;
  readonly reservationId: typeof real.reservationId;
  readonly canFollow: typeof real.canFollow;
  readonly canRegain: typeof real.canRegain;
  readonly keeps: typeof real.keeps;
  readonly canRename: typeof real.canRename;
  readonly segmentName: typeof segmentObjectName;
  /** What a move of HEAD carries, of the nonce drawn for it. */
  readonly nonceOfMove: (drawn: string) => string;
  /** Whether the store heeds the expected version of a compare-and-set. */
  readonly storeHeedsVersions: boolean;
  /** After a conflict or no answer: HEAD is read and settles it; or the move is taken for failed. */
  readonly afterUncertainMove: 'read HEAD' | 'failed';
  /** A publication of unknown outcome: a new epoch stops it; or it is taken for failed. */
  readonly afterUnknownPublish: 'regain' | 'failed';
  /** `BLOB_EXISTS`: an error unless the bytes are ours; or success. */
  readonly takenName: 'error' | 'success';
  /** After a publication that failed: the delta is stored again, under a new name; or given out under its old one. */
  readonly reissued: 'stored again' | 'as it was';
  readonly collectorReads: 'HEAD, then pins' | 'pins, then HEAD';
  /** Whether a publication may refer to what only a pin holds. */
  readonly pinsMarkForPublish: boolean;
}

export const realDecisions: Decisions = Object.freeze({
  headAfterTakeOver: real.headAfterTakeOver,
  headAfterPublish: real.headAfterPublish,
  settleMove: real.settleMove,
  collectable: real.collectable,
  deadReferences: real.deadReferences,
  markedBy: real.markedBy,
  reservationId: real.reservationId,
  canFollow: real.canFollow,
  canRegain: real.canRegain,
  keeps: real.keeps,
  canRename: real.canRename,
  segmentName: segmentObjectName,
  nonceOfMove: (drawn: string) => drawn,
  storeHeedsVersions: true,
  afterUncertainMove: 'read HEAD',
  afterUnknownPublish: 'regain',
  takenName: 'error',
  reissued: 'stored again',
  collectorReads: 'HEAD, then pins',
  pinsMarkForPublish: false,
});

/** The protocol with another test of what is dead, for the collector and for what may be published. */
function withDead(isDead: typeof real.isDead): Pick<Decisions, 'collectable' | 'deadReferences'> {
  const collectable: typeof real.collectable = (names, head, marked) =>
    names.filter((name) => !marked.has(name) && isDead(name, head));
  const deadReferences: typeof real.deadReferences = (manifest, head, marked) =>
    collectable(real.objectsOf(manifest), head, marked);
  return { collectable, deadReferences };
}

const epochOf = (name: string) => Number(/^\w+\/(\d+)-/.exec(name)?.[1]);
const idOf = (name: string) => Number(/^\w+\/\d+-(\d+)-/.exec(name)?.[1]);

/** Faults to plant: each replaces what it names and leaves the rest as it is. */
export const faults = {
  'HEAD has no nonce': { nonceOfMove: () => 'none' },
  'the epoch is not raised at a takeover': {
    headAfterTakeOver: (head: Head | undefined, nonce: string) => ({
      ...real.headAfterTakeOver(head, nonce),
      epoch: Math.max(head?.epoch ?? 0, 1),
    }),
  },
  'a conflict is taken for failure': { afterUncertainMove: 'failed' },
  'a publication without an answer is taken for failed': { afterUnknownPublish: 'failed' },
  'any epoch is regained': { canRegain: () => true },
  'the store ignores If-Match': { storeHeedsVersions: false },
  'the collector has no publishing line: all of HEAD’s epoch is dead': {
    collectable: withDead((name, head) => epochOf(name) <= head.epoch).collectable,
  },
  'the collector trusts ages: what was there long enough by some clock is dead': {
    collectable: withDead(() => true).collectable,
  },
  'the publishing line never moves': {
    headAfterPublish: (head: Head, manifest: Manifest, options: Parameters<typeof real.headAfterPublish>[2]) => ({
      ...real.headAfterPublish(head, manifest, options),
      line: head.line,
    }),
  },
  'older epochs are not dead': withDead((name, head) => epochOf(name) === head.epoch && idOf(name) < head.line),
  'the line ignores reservations': {
    headAfterPublish: (head: Head, manifest: Manifest, options: Parameters<typeof real.headAfterPublish>[2]) =>
      real.headAfterPublish(head, manifest, { ...options, reserved: [] }),
  },
  'the line ignores reservations, and publications are not checked': {
    headAfterPublish: (head: Head, manifest: Manifest, options: Parameters<typeof real.headAfterPublish>[2]) =>
      real.headAfterPublish(head, manifest, { ...options, reserved: [] }),
    deadReferences: () => [],
  },
  'a reservation does not know of the publication in flight': {
    reservationId: (latest: Parameters<typeof real.reservationId>[0]) => real.reservationId(latest, 0),
  },
  'names have no nonce, and a taken name is one’s own': {
    segmentName: (epoch: number, checkpointId: number, host: string) =>
      segmentObjectName(epoch, checkpointId, host, 'x'),
    takenName: 'success',
  },
  'names have no epoch': {
    segmentName: (_epoch: number, checkpointId: number, host: string, nonce: string) =>
      segmentObjectName(1, checkpointId, host, nonce),
    ...withDead((name, head) => idOf(name) < head.line),
  },
  'a delta is given out again under its old name, unchecked': { reissued: 'as it was', deadReferences: () => [] },
  'a publication refers to whatever it likes': { deadReferences: () => [] },
  'a publication relies on pins': { pinsMarkForPublish: true },
  'the collector reads pins before HEAD': { collectorReads: 'pins, then HEAD' },
  'a pin is valid if HEAD keeps its id': {
    keeps: (head: Head, { checkpointId }: Manifest) => real.keptBy(head).some((m) => m.checkpointId === checkpointId),
  },
  'a fallback does not look whether HEAD has moved on': { canRename: () => true },
  'a fallback trusts the id of what it goes back to': {
    canRename: (head: Head, _manifest: Manifest, as: number) => real.keptBy(head).every((m) => m.checkpointId < as),
  },
  'a pin is valid at once': { keeps: () => true },
} as const satisfies Record<string, Partial<Decisions>>;

export type Fault = keyof typeof faults;
