/** The service's side of a simulated shuffle, and how its clients come to it. */
import { type Clock, MillraceError, type Random, sleep } from '../base/index.js';
import { acceptPeer, connectPeer } from '../base/rpc/index.js';
import {
  RegionStore,
  type RpcPeer,
  type ShuffleClient,
  type ShuffleFaults,
  ShuffleService,
  type ShuffleServiceOptions,
  type ShuffleSettings,
  shuffleClient,
} from '../shuffle/index.js';
import type { ShuffleModel } from './shuffle-model.js';
import type { ShuffleScenario } from './shuffle-scenario.js';
import type { ShuffleWatch } from './shuffle-watch.js';
import type { SimContext } from './sim-process.js';

export const SHUFFLE_HOST = 'h1';
const ADDRESS = 'unix:/run/shuffle.sock';
const TOKEN = Buffer.from('simulated simulated', 'utf8');
/** Of every call to a spill disk. */
export const SPILL_DEADLINE_MS = 250;

/** What every role is given beside its own thread. */
export interface ShuffleParts {
  readonly scenario: ShuffleScenario;
  readonly model: ShuffleModel;
  readonly watch: ShuffleWatch;
  readonly faults: ShuffleFaults;
}

export interface RunningService {
  readonly service: ShuffleService;
  readonly regions: RegionStore;
}

export function shuffleSettings({ slots, slotBytes, ringRecords }: ShuffleScenario): Partial<ShuffleSettings> {
  return {
    arenaBytes: slots * slotBytes,
    slotBytes,
    ringRecords,
    frameBytes: 64 * 1024,
    unconsumedBytesMax: 4 * slotBytes,
    unconsumedBuffersMax: 32,
    spillBytes: 4 * slotBytes,
    tidyMs: 1000,
  };
}

/** Who maps this memory, in the daemon's words. */
export function simThreads({ thread, process }: SimContext): Pick<ShuffleServiceOptions, 'holder' | 'isGone'> {
  return { holder: thread.identity, isGone: (holder) => process.host.memory.isGone(holder) };
}

/** What a daemon does. `onOpen` is told of it once it serves. */
export async function shuffleDaemonMain(
  context: SimContext,
  { scenario, model, faults }: ShuffleParts,
  onOpen: (running: RunningService) => void,
): Promise<void> {
  const { clock, network, memory, disk, random, logger, process } = context;
  const regions = await RegionStore.open({
    disk,
    folders: scenario.folders,
    clock,
    logger,
    random,
    bootId: process.host.bootId,
    deadlineMs: SPILL_DEADLINE_MS,
  });
  const { finish } = regions;
  regions.finish = async (writer, spec, reached) => {
    await finish.call(regions, writer, spec, reached);
    const state = model.writer(writer);
    if (state !== undefined) state.durable = true;
  };
  const service = await ShuffleService.open({
    memory,
    clock,
    logger,
    settings: shuffleSettings(scenario),
    faults,
    regions,
    ...simThreads(context),
  });
  await network.listen(ADDRESS, (connection) => {
    acceptPeer(connection, { token: TOKEN, role: 'daemon', clock }).then(
      (peer) => service.attach(peer),
      (error: unknown) => logger.warn({ error }, 'a connection was refused'),
    );
  });
  onOpen({ service, regions });
}

export interface ShuffleLink {
  readonly peer: RpcPeer;
  readonly client: ShuffleClient;
  readonly gone: boolean;
  close(): Promise<void>;
}

/** Connects, as often as it takes. */
export async function linkToShuffle(context: SimContext, parts: ShuffleParts, mapped: boolean): Promise<ShuffleLink> {
  const { clock, network, memory, random } = context;
  for (;;) {
    try {
      const peer = await connectPeer(network, ADDRESS, { token: TOKEN, role: context.name, clock });
      const { faults, scenario } = parts;
      const shared = mapped ? { memory, holder: context.thread.identity } : {};
      const client = shuffleClient({ peer, clock, settings: shuffleSettings(scenario), faults, ...shared });
      let gone = false;
      void peer.closed.then(() => {
        gone = true;
      });
      return {
        peer,
        client,
        get gone() {
          return gone;
        },
        async close() {
          await client.close();
          peer.close();
        },
      };
    } catch (error) {
      if (!isTransient(error)) throw error;
      await pause(clock, random, 40);
    }
  }
}

/** Worth another try, on another connection. */
export function isTransient(error: unknown): boolean {
  return error instanceof MillraceError && (error.kind === 'unavailable' || error.kind === 'closed');
}

export function pause(clock: Clock, random: Random, msMax: number): Promise<void> {
  return sleep(clock, random.float() * msMax);
}
