import { MillraceError } from '../base/index.js';
import { Daemon, type DaemonSettings, StateThread } from '../engine/daemon/index.js';
import { builtInShuffle, type ShuffleFaults } from '../shuffle/index.js';
import { simThreads } from './shuffle-daemon.js';
import type { SimHostBases } from './sim-bases.js';
import type { SimClock } from './sim-clock.js';
import type { SimObjectStore } from './sim-object-store.js';
import type { SimContext } from './sim-process.js';
import { simStatePort } from './sim-state-thread.js';
import type { TieredState } from './tiered-state.js';

/** What a simulated daemon has besides its settings. */
export interface SimDaemonParts {
  readonly clock: SimClock;
  readonly faults: ShuffleFaults;
  readonly arenaBytes: number;
  readonly inlineBytesMax: number | undefined;
  readonly bases: SimHostBases;
  readonly tiered: TieredState | undefined;
  /** Where checkpoints are that are on no host. */
  readonly objects: SimObjectStore | undefined;
  /** All boots of the host look like one. */
  readonly noBootId?: boolean | undefined;
}

/** What the daemon's `main.ts` does, on a simulated process. */
export async function simDaemonMain(
  context: SimContext,
  given: DaemonSettings,
  onStop: (stop: () => void) => void,
  { clock: sim, faults, arenaBytes, inlineBytesMax, bases, tiered, objects, noBootId = false }: SimDaemonParts,
): Promise<void> {
  const { clock, network, memory, disk, random, logger, process } = context;
  const { stateFolder: root, checkpoints, logLevel } = given;
  const bootId = noBootId ? 'boot' : process.host.bootId;
  const state =
    root === undefined
      ? undefined
      : new StateThread(
          simStatePort(context, sim, { root, bootId, checkpoints, logLevel }, (own) => ({
            bases: bases.of(own.thread),
            remote: objects?.of(own),
            folderSettings: tiered?.folder ?? {},
          })),
          logger,
        );
  const shuffle = builtInShuffle({ memory, faults, ...simThreads(context) });
  const settings = { ...given, arenaBytes, ...(inlineBytesMax === undefined ? {} : { inlineBytesMax }) };
  const remote = objects?.of(context);
  try {
    const daemon = await Daemon.open({ settings, clock, network, shuffle, disk, random, logger, state, remote });
    onStop(() => void daemon.close().finally(() => process.exitSoon(0)));
  } catch (thrown) {
    if (!(thrown instanceof MillraceError) || thrown.kind !== 'unavailable') throw thrown;
    process.exitSoon(1);
  }
}
