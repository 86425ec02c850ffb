import {
  type Clock,
  type Logger,
  MillraceError,
  type SharedMemory,
  sleep,
  type Timer,
  threadIsGone,
} from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { Held } from './generated/millrace/shuffle.js';
import { LocalEnvironment } from './local-environment.js';
import { LocalMaster } from './local-master.js';
import { MasterServer } from './master-server.js';
import { reader, SHUFFLE_SERVICES, strictly } from './message.js';
import { type ShuffleMetrics, shuffleMetrics } from './metrics.js';
import type { RegionStore } from './region-store.js';
import { DoorbellExchange } from './remote-doorbell.js';
import { SHUFFLE_DEFAULTS, type ShuffleFaults, type ShuffleSettings } from './settings.js';
import type { ShuffleMaster } from './spi.js';
import { serveSpilled } from './spilled-messages.js';
import { WireSession } from './wire-session.js';

export interface ShuffleServiceOptions {
  readonly memory: SharedMemory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings?: Partial<ShuffleSettings>;
  readonly faults?: ShuffleFaults;
  /** Where data goes that has no room in memory; closed with the service. Without it everything stays in memory. */
  readonly regions?: RegionStore;
  /** The thread that serves, as `isGone` of a later service will be asked about it. This one, by default. */
  readonly holder?: string;
  /** Whether a thread that mapped it has run the last of its code; asks the operating system by default. */
  readonly isGone?: (holder: string) => boolean;
}

export interface ShuffleServiceMetrics extends Readonly<ShuffleMetrics> {
  readonly connections: number;
  readonly writers: number;
  readonly slots: number;
  readonly freeSlots: number;
  readonly quarantinedSlots: number;
  readonly partitionsLost: number;
  readonly pressureEvents: number;
  readonly degradedEvents: number;
  readonly writersExpired: number;
  readonly disksSetAside: number;
  /** Of what is on disk or in an object store now, and what was written there and read back so far. */
  readonly spilledRegions: number;
  readonly spilledBytes: number;
  readonly spilledObjectBytes: number;
  readonly spillBytesWritten: number;
  readonly spillBytesRead: number;
}

/**
 * The daemon's side of the shuffle: the master, the doorbell exchange, and the wire for clients that cannot map. Clients
 * that map the same memory come here for control only; their buffers never do.
 */
export class ShuffleService {
  readonly #options: ShuffleServiceOptions;
  readonly #master: LocalMaster;
  readonly #doorbells: DoorbellExchange;
  readonly #sessions = new Set<RpcPeer>();
  readonly #masterServer: MasterServer;
  #timer: Timer;
  #closed = false;
  readonly #wireMetrics: ShuffleMetrics = shuffleMetrics();
  readonly #events = { lost: 0, pressure: 0, degraded: 0, expired: 0, diskSetAside: 0 };

  private constructor(options: ShuffleServiceOptions, master: LocalMaster, doorbells: DoorbellExchange) {
    this.#options = options;
    this.#master = master;
    this.#doorbells = doorbells;
    this.#timer = this.#tidyLater();
    master.onEvent((event) => {
      this.#events[event.kind]++;
    });
    this.#masterServer = new MasterServer(master);
  }

  /** @throws `MEMORY_FULL` when the arena does not fit. */
  static async open(options: ShuffleServiceOptions): Promise<ShuffleService> {
    const doorbells = new DoorbellExchange();
    const master = await LocalMaster.open({ ...options, doorbell: doorbells });
    return new ShuffleService(options, master, doorbells);
  }

  /** For a scheduler in the same thread. */
  get master(): ShuffleMaster {
    return this.#master;
  }

  /** Gauges and counters of now, by name. The buffers are those that came over the wire. */
  get metrics(): ShuffleServiceMetrics {
    const { arena, quarantinedSlots, writers } = this.#master;
    const { lost, pressure, degraded, expired, diskSetAside } = this.#events;
    const spilled = this.#options.regions?.metrics;
    return {
      connections: this.#sessions.size,
      writers,
      slots: arena.slots,
      freeSlots: arena.freeSlots(),
      quarantinedSlots,
      partitionsLost: lost,
      pressureEvents: pressure,
      degradedEvents: degraded,
      writersExpired: expired,
      disksSetAside: diskSetAside,
      spilledRegions: spilled?.regions ?? 0,
      spilledBytes: spilled?.bytesOnDisk ?? 0,
      spilledObjectBytes: spilled?.bytesInObjects ?? 0,
      spillBytesWritten: spilled?.bytesWritten ?? 0,
      spillBytesRead: spilled?.bytesRead ?? 0,
      ...this.#wireMetrics,
    };
  }

  /**
   * Serves one client until its connection closes. What it held is then sealed, and cleaned up after it once its thread is gone: a
   * connection ends in other ways too (silence, a message that makes no sense), and a thread that is stopped writes when it wakes.
   */
  attach(peer: RpcPeer): void {
    this.#sessions.add(peer);
    const refuse = (error: MillraceError) => this.#refuse(peer, error);
    this.#doorbells.connect(peer);
    this.#masterServer.serve(peer);
    const held = this.#serveHeld(peer, refuse);
    const { memory, clock, holder, settings = {}, faults = {} } = this.#options;
    const doorbell = this.#doorbells;
    const metrics = this.#wireMetrics;
    const { readSpilled } = this.#master;
    const onWriter = (writer: string, epoch: number, state: 'opened' | 'closed') => {
      if (state === 'closed') void this.#master.closed(writer, epoch);
    };
    const environment = new LocalEnvironment({
      memory,
      clock,
      doorbell,
      settings,
      faults,
      metrics,
      readSpilled,
      onWriter,
      ...(holder === undefined ? {} : { holder }),
    });
    serveSpilled(peer, readSpilled);
    const wire = new WireSession(peer, environment, clock, refuse);
    peer.closed.then(async () => {
      this.#sessions.delete(peer);
      await wire.close();
      await environment.close();
      for (const { writer, epoch } of held.values()) {
        await this.#master.disconnected(writer, epoch).catch((e: unknown) => this.#failed('sealing a writer', e));
      }
      if (held.size > 0) await this.#reclaim(GONE_AFTER_MS);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer.cancel();
    for (const peer of this.#sessions) peer.close();
    await this.#master.close();
  }

  /** Gives back what threads that are gone may have written to. One outlives its connection by a moment, or for long. */
  async #reclaim(afterMs: readonly number[]): Promise<void> {
    const { clock, isGone = threadIsGone } = this.#options;
    for (const ms of afterMs) {
      if (ms > 0) await sleep(clock, ms);
      if (this.#closed) return;
      await this.#master.reclaimOf(isGone).catch((e: unknown) => this.#failed('cleaning up after a thread', e));
    }
  }

  #serveHeld(
    peer: RpcPeer,
    refuse: (error: MillraceError) => void,
  ): Map<string, { readonly writer: string; readonly epoch: number }> {
    const held = new Map<string, { readonly writer: string; readonly epoch: number }>();
    const serve = (body: Uint8Array): void => {
      const message = Held.getRootAsHeld(reader(body));
      const writer = String(message.writer());
      const epoch = message.epoch();
      if (!message.closed()) held.set(`${epoch} ${writer}`, { writer, epoch });
      else if (held.delete(`${epoch} ${writer}`)) void this.#master.closed(writer, epoch);
    };
    peer.serve(SHUFFLE_SERVICES.held, strictly(refuse, serve));
    return held;
  }

  #refuse(peer: RpcPeer, error: MillraceError): void {
    this.#options.logger.warn({ peer: peer.peer, error: error.toJSON() }, 'connection closed: a message made no sense');
    peer.notify(SHUFFLE_SERVICES.refused, Buffer.from(JSON.stringify(error.toJSON())));
    peer.close();
  }

  #tidyLater(): Timer {
    const { clock, settings } = this.#options;
    return clock.schedule(settings?.tidyMs ?? SHUFFLE_DEFAULTS.tidyMs, async () => {
      await this.#master
        .tidy(clock.monotonicMs(), (writer) => this.#masterServer.isOwned(writer))
        .catch((e: unknown) => this.#failed('tidying up', e));
      await this.#reclaim([0]);
      if (!this.#closed) this.#timer = this.#tidyLater();
    });
  }

  #failed(what: string, thrown: unknown): void {
    const error = MillraceError.from(thrown);
    this.#options.logger.error({ error: error.toJSON() }, `${what} failed`);
  }
}

const GONE_AFTER_MS = [0, 10, 100];
