import type { Step } from '../explore.test.support.js';
import type { Head, HeadManifest } from './head.js';
import type { WorldKeys } from './head-model-key.test.support.js';
import { type Move, type MoveKind, versionOf } from './head-model-move.test.support.js';
import { failed, fenced, forgotten, isInHead, moved, writerAt } from './head-model-outcomes.test.support.js';
import {
  compareAndSet,
  manifestOf,
  readManifests,
  type Setup,
  segmentsOf,
  send,
  spend,
  type World,
  withWriter,
} from './head-model-world.test.support.js';
import { keptBy } from './head-protocol.js';

/*
 * A leader's moves of HEAD, as HeadRegister makes them: compare-and-set; after a conflict or no answer, read HEAD and settle;
 * again, a few times. Around that takeOver, regain, reset and rollBack of CheckpointStore, and the driver, which regains after a
 * publication of unknown outcome and ends when it is fenced. Reading HEAD includes the manifests outside it: those cannot change, and
 * if HEAD moves on before they are read, the compare-and-set that follows fails.
 */

/** Steps of taking over, regaining, moving HEAD, and crashing. */
export function leaderSteps(world: World, index: number, setup: Setup, keys: WorldKeys): Step<World>[] {
  const who = 'AB'[index] as string;
  const steps: Step<World>[] = [];
  const add = (label: string, to: World | undefined): void => {
    if (to !== undefined) steps.push({ label: `${who} ${label}`, to });
  };
  const { at, move } = writerAt(world, index);
  if (at === 'off')
    for (const lead of leads(world, setup)) add(`reads HEAD to ${lead.kind}`, begin(world, index, setup, keys, lead));
  if (at === 'off') lookBack(world, index, add);
  if (at === 'looked') {
    const to = fallBack(world, index, setup, keys);
    add(`reads HEAD to fall back${writerAt(to, index).at === 'off' ? ', and is too late' : ''}`, to);
  }
  if (at === 'regain') {
    const to = regain(world, index, setup, keys);
    add(`reads HEAD to regain${to && writerAt(to, index).at === 'off' ? ', and is fenced' : ''}`, to);
  }
  if (at === 'move' && move !== null) {
    const what = move.kind === 'publish' ? `publish checkpoint ${move.manifest?.checkpointId}` : move.kind;
    const arrived = compareAndSet(world, move, setup);
    if (arrived !== undefined) add(`moves HEAD to ${what}${beliefOf(world, index)}`, moved(arrived, index, setup));
    else add(`meets a conflict as it moves HEAD to ${what}`, uncertain(world, index, setup));
    add(`hears nothing of its move of HEAD to ${what}`, unanswered(world, index, move, setup));
    const crashed = spend(world, 'crashes');
    if (crashed !== undefined)
      add(`crashes, its move to ${what} being on its way`, send(forgotten(crashed, index), { move }));
  }
  if (at === 'settle' && move !== null) {
    const outcome = outcomeOf(world, move, setup);
    const belief = outcome === 'moved' ? beliefOf(world, index) : '';
    add(
      `reads HEAD to learn what became of its move to ${move.kind}: ${outcome}${belief}`,
      settle(world, index, setup),
    );
    const unread = spend(world, 'unanswered');
    if (unread !== undefined) add('cannot read HEAD to learn what became of its move', tryAgain(unread, index, setup));
  }
  if (at !== 'off') {
    const crashed = spend(world, 'crashes');
    if (crashed !== undefined) add('crashes', forgotten(crashed, index));
  }
  return steps;
}

/** What a leader that has regained will tell of the publication that was in doubt. */
function beliefOf(world: World, index: number): string {
  const { doubt, move } = writerAt(world, index);
  if (doubt === null || move === null || move.kind !== 'regain') return '';
  const isDone = isInHead(move.head, doubt);
  return `: checkpoint ${doubt.manifest?.checkpointId} ${isDone ? 'is complete' : 'has failed'}`;
}

interface Lead {
  readonly kind: MoveKind;
  /** HEAD to go on from. */
  readonly from: Head | undefined;
  readonly newest: HeadManifest | null;
  readonly world: World;
}

/** What an absent leader may begin with. */
function leads(world: World, { epochMax }: Setup): Lead[] {
  const { head } = world;
  if ((head?.epoch ?? 0) >= epochMax) return [];
  const found: Lead[] = [{ kind: 'take over', from: head ?? undefined, newest: null, world }];
  if (head === null) return found;
  const forReset = spend(world, 'resets');
  if (forReset !== undefined)
    found.push({ kind: 'reset', from: { ...head, latest: null, retained: [] }, newest: null, world: forReset });
  const forRollBack = spend(world, 'rollBacks');
  for (const [at, latest] of keptBy(head).entries()) {
    if (at === 0 || forRollBack === undefined) continue;
    found.push({
      kind: 'roll back',
      from: { ...head, latest, retained: keptBy(head).slice(at + 1) },
      newest: null,
      world: forRollBack,
    });
  }
  return found;
}

/** Looks at HEAD for a checkpoint to go back to (`findRestorable`, to which the newer ones are damaged). */
function lookBack(world: World, index: number, add: (label: string, to: World) => void): void {
  const left = spend(world, 'rollBacks');
  const manifests = world.head === null ? [] : (readManifests(world, world.head) ?? []);
  for (const manifest of left === undefined ? [] : manifests.slice(1)) {
    const found = { manifest, newest: world.head?.latest as HeadManifest };
    const label = `finds that it has to fall back to checkpoint ${manifest.checkpointId} of epoch ${manifest.epoch}`;
    add(label, withWriter(left as World, index, { at: 'looked', found }));
  }
}

/** `CheckpointStore.openAt`, as `fallBack` calls it. */
function fallBack(world: World, index: number, setup: Setup, keys: WorldKeys): World {
  const { found } = writerAt(world, index);
  const { head } = world;
  if (found === null || head === null) return world;
  const { manifest, newest } = found;
  const as = newest.checkpointId + 1;
  const at = keptBy(head).findIndex((kept) => kept.checkpointId === manifest.checkpointId);
  const isOvertaken = at < 0 || head.epoch >= setup.epochMax || !setup.decisions.canRename(head, manifest, as);
  if (isOvertaken) return forgotten(world, index);
  const latest = manifestOf(head.epoch + 1, as, segmentsOf(manifest), manifest.final);
  const from = { ...head, latest, retained: keptBy(head).slice(at + 1) };
  const absent = withWriter(world, index, { found: null });
  return begin(world, index, setup, keys, { kind: 'roll back', from, newest, world: absent });
}

function begin(world: World, index: number, { decisions }: Setup, keys: WorldKeys, lead: Lead): World {
  const ticket = keys.fresh(world);
  const head = decisions.headAfterTakeOver(lead.from, decisions.nonceOfMove(ticket));
  const move: Move = {
    ticket,
    kind: lead.kind,
    head,
    expected: world.head,
    manifest: null,
    newest: lead.newest,
    denied: false,
  };
  return withWriter(lead.world, index, { at: 'move', seen: world.head, move, attempt: 1 });
}

function regain(world: World, index: number, setup: Setup, keys: WorldKeys): World | undefined {
  const { unknown, led } = writerAt(world, index);
  const { decisions, epochMax } = setup;
  const nonces = new Set(unknown.map(decisions.nonceOfMove));
  if (!decisions.canRegain(world.head ?? undefined, led, nonces)) return fenced(world, index);
  if ((world.head?.epoch ?? 0) >= epochMax) return undefined;
  return begin(world, index, setup, keys, { kind: 'regain', from: world.head ?? undefined, newest: null, world });
}

function unanswered(world: World, index: number, move: Move, setup: Setup): World | undefined {
  const left = spend(world, 'unanswered');
  return left && uncertain(send(left, { move }), index, setup);
}

function uncertain(world: World, index: number, setup: Setup): World {
  const { move, unknown } = writerAt(world, index);
  if (move === null) return world;
  if (setup.decisions.afterUncertainMove === 'failed') {
    return move.kind === 'publish' ? failed(world, index, move, setup) : forgotten(world, index);
  }
  return withWriter(world, index, { at: 'settle', unknown: [...new Set([...unknown, move.ticket])].sort() });
}

function outcomeOf({ head }: World, move: Move, { decisions }: Setup): ReturnType<typeof decisions.settleMove> {
  const read = head === null ? undefined : { nonce: head.nonce, version: versionOf(head) as string };
  return decisions.settleMove(read, { nonce: move.head.nonce, expected: versionOf(move.expected) });
}

function settle(world: World, index: number, setup: Setup): World {
  const { move } = writerAt(world, index);
  const { head } = world;
  if (move === null) return world;
  const outcome = outcomeOf(world, move, setup);
  if (outcome === 'not moved') return tryAgain(world, index, setup);
  if (outcome === 'moved') return moved(world, index, setup);
  if (move.kind === 'publish') return fenced(world, index);
  // `#lead` looks at HEAD again, and goes above it.
  if (move.kind === 'regain') return withWriter(world, index, { at: 'regain', seen: head, move: null, attempt: 0 });
  return forgotten(world, index);
}

function tryAgain(world: World, index: number, setup: Setup): World {
  const { move, attempt, doubt } = writerAt(world, index);
  if (attempt < setup.attemptsMax) return withWriter(world, index, { at: 'move', attempt: attempt + 1 });
  // It is unknown whether HEAD was moved.
  if (move === null || (move.kind !== 'publish' && move.kind !== 'regain')) return forgotten(world, index);
  if (move.kind === 'publish' && setup.decisions.afterUnknownPublish === 'failed')
    return failed(world, index, move, setup);
  return withWriter(world, index, {
    at: 'regain',
    leads: false,
    doubt: doubt ?? move,
    move: null,
    attempt: 0,
  });
}
