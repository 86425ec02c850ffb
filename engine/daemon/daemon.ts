import {
  type Clock,
  type Connection,
  type Disk,
  type Listener,
  type Logger,
  type LogLevel,
  type Network,
  type Random,
  yieldTurn,
} from '../../base/index.js';
import {
  type AuthenticatedPeer,
  acceptPeer,
  bearerToken,
  type FrontDoor,
  openFrontDoor,
} from '../../base/rpc/index.js';
import {
  type BlobStore,
  type CheckpointLocation,
  type OpenedCheckpoints,
  openCheckpointPlace,
  SegmentHome,
} from '../../checkpoint/index.js';
import { type IdleLimits, SHUFFLE_DEFAULTS, type ShufflePlugin, type ShuffleServiceEnd } from '../../shuffle/index.js';
import { StateQueries } from '../../statestore/index.js';
import { KEY_GROUPS } from '../graph/index.js';
import { SERVICE, SHUFFLE_SETTINGS, type ShuffleKind } from '../runtime/index.js';
import { serveControl } from './control-api.js';
import { type DaemonMetrics, daemonMetrics } from './metrics.js';
import { serveSegments } from './segment-service.js';
import { serveState } from './state-api.js';
import type { HostStateEnd } from './state-thread.js';

/** What a daemon is started with; plain data, JSON. */
export interface DaemonSettings {
  /** Where workers and schedulers connect: `unix:/path`. */
  readonly address: string;
  /** Hex. */
  readonly token: string;
  /** Names this host in object names. */
  readonly host: string;
  /** The blob store. */
  readonly checkpoints: CheckpointLocation;
  /** For copies of what is in a remote blob store, and what is on its way there; a folder of this daemon's own. */
  readonly tierFolder?: string;
  /**
   * For state of completed checkpoints, as tasks of this host read it: a folder of this daemon's own, on a disk. It is a cache, and
   * not encrypted. None: tasks read checkpoints from the store.
   */
  readonly stateFolder?: string;
  readonly shuffle: ShuffleKind;
  /** Memory-backed folder for mapped regions. */
  readonly memoryFolder: string | undefined;
  /** Folders of an embedded run, removed when its owner dies before it could. */
  readonly runFolders: readonly string[];
  /** Where the daemon says why it could not start. */
  readonly errorFile: string;
  /** The front door (health, metrics, state, WebSocket data); undefined for none. */
  readonly http: { readonly host: string; readonly port: number } | undefined;
  readonly arenaBytes?: number;
  /** State of a host's tasks of so many bytes stands in HEAD itself; the checkpoint store's own limit by default. */
  readonly inlineBytesMax?: number;
  /** One on each disk for buffers that have no room in memory, or are kept; none: everything stays in memory. */
  readonly spillFolders?: readonly string[];
  /** On all of them together. */
  readonly spillBytesMax?: number;
  /** How long partitions stay that nobody wants any more; the shuffle's own limits by default. */
  readonly idleLimits?: Partial<IdleLimits>;
  readonly logLevel: LogLevel;
}

/** Of the process that runs a daemon. */
export interface DaemonProcess {
  /** Of Millrace. */
  readonly version: string;
  readonly pid: number;
  /** Tells a restart of the daemon from a reboot of its machine. */
  readonly bootId: string;
}

/**
 * The sidecar of a host: partitions (shuffle) and the segments of checkpoints in the making, for any number of workers and
 * schedulers. It decides nothing and outlives workers.
 */
export class Daemon {
  readonly address: string;
  readonly frontDoor: FrontDoor | undefined;
  readonly #listener: Listener;
  readonly #shuffle: ShuffleServiceEnd;
  readonly #peers: Set<AuthenticatedPeer>;
  readonly #metrics: DaemonMetrics | undefined;
  readonly #checkpoints: OpenedCheckpoints;
  readonly #state: HostStateEnd | undefined;

  private constructor(parts: {
    readonly listener: Listener;
    readonly frontDoor: FrontDoor | undefined;
    readonly shuffle: ShuffleServiceEnd;
    readonly peers: Set<AuthenticatedPeer>;
    readonly metrics: DaemonMetrics | undefined;
    readonly checkpoints: OpenedCheckpoints;
    readonly state: HostStateEnd | undefined;
  }) {
    this.address = parts.listener.address;
    this.frontDoor = parts.frontDoor;
    this.#listener = parts.listener;
    this.#shuffle = parts.shuffle;
    this.#peers = parts.peers;
    this.#metrics = parts.metrics;
    this.#checkpoints = parts.checkpoints;
    this.#state = parts.state;
  }

  /** @throws MillraceError `MEMORY_FULL` (the memory-backed folder is too small), `ADDRESS_IN_USE`, each naming what to do. */
  static async open(options: {
    readonly settings: DaemonSettings;
    readonly clock: Clock;
    readonly network: Network;
    readonly shuffle: ShufflePlugin;
    readonly disk: Disk;
    readonly random: Random;
    readonly logger: Logger;
    /** Closed with the daemon. */
    readonly state?: HostStateEnd | undefined;
    /** Stands in for what is in S3, in the simulator. */
    readonly remote?: BlobStore | undefined;
    /** What `GET /info` says of the process. */
    readonly process?: DaemonProcess;
  }): Promise<Daemon> {
    const startedMs = options.clock.monotonicMs();
    const { settings, clock, network, disk, random, logger } = options;
    const checkpoints = await openCheckpointPlace(
      settings.checkpoints,
      { disk, clock, random, logger, remote: options.remote },
      { probe: false, tierFolder: settings.tierFolder },
    );
    const blobs = checkpoints.store;
    const home = new SegmentHome({
      store: blobs,
      random,
      host: settings.host,
      ...(settings.inlineBytesMax === undefined ? {} : { inlineBytesMax: settings.inlineBytesMax }),
    });
    const shuffleSettings = {
      ...SHUFFLE_DEFAULTS,
      ...SHUFFLE_SETTINGS,
      ...(settings.arenaBytes === undefined ? {} : { arenaBytes: settings.arenaBytes }),
      ...settings.idleLimits,
    };
    const shuffle = await options.shuffle.openService({ clock, logger, settings: shuffleSettings });
    const peers = new Set<AuthenticatedPeer>();
    const accept = async (connection: Connection): Promise<void> => {
      try {
        const peer = await acceptPeer(connection, { token: Buffer.from(settings.token, 'hex'), role: 'daemon', clock });
        peers.add(peer);
        void peer.closed.then(() => peers.delete(peer));
        shuffle.attach(peer);
        serveSegments(peer, { home, store: blobs, host: settings.host, clock, random, state: options.state });
        peer.serve(SERVICE.frontDoor, () => Buffer.from(frontDoor?.address ?? ''));
      } catch (error) {
        logger.warn({ error: String(error) }, 'a connection was refused');
      }
    };
    let frontDoor: FrontDoor | undefined;
    let listener: Listener | undefined;
    let metrics: DaemonMetrics | undefined;
    const info = () => ({
      ...options.process,
      uptimeSeconds: Math.round(clock.monotonicMs() - startedMs) / 1000,
      frontDoor: frontDoor?.implementation,
      addresses: { unix: listener?.address, http: frontDoor?.address, data: frontDoor?.webSocketAddress('/data') },
      stateSegments: settings.checkpoints.url,
      shuffle: {
        kind: settings.shuffle,
        plugin: options.shuffle.name,
        memoryFolder: settings.memoryFolder ?? null,
        settings: shuffleSettings,
        ...shuffle.metrics,
      },
    });
    try {
      if (settings.http !== undefined) {
        frontDoor = await openFrontDoor({
          ...settings.http,
          clock,
          logger,
          health: () => ({ ok: true, connections: peers.size, heldSegmentBytes: home.heldBytes }),
          metrics: async () => (await metrics?.text()) ?? '',
          authorize: bearerToken(settings.token),
        });
        const labels = {
          version: options.process?.version ?? '',
          front_door: frontDoor.implementation,
          shuffle: options.shuffle.name,
        };
        metrics = await daemonMetrics({ shuffle, home, connections: () => peers.size, labels });
        serveControl(frontDoor, { master: shuffle.master, info });
        const breathe = () => yieldTurn(clock);
        serveState(
          frontDoor,
          new StateQueries({ store: blobs, keyGroups: KEY_GROUPS, now: () => clock.now(), breathe }),
        );
        frontDoor.onConnection('/data', (connection) => void accept(connection));
      }
      listener = await network.listen(settings.address, (connection) => void accept(connection));
      return new Daemon({ listener, frontDoor, shuffle, peers, metrics, checkpoints, state: options.state });
    } catch (thrown) {
      await frontDoor?.close();
      metrics?.close();
      await shuffle.close();
      await options.state?.close();
      await checkpoints.close();
      throw thrown;
    }
  }

  /** Ends all connections and gives all memory back. */
  async close(): Promise<void> {
    await this.#listener.close();
    await this.frontDoor?.close();
    this.#metrics?.close();
    for (const peer of this.#peers) peer.close();
    await this.#shuffle.close();
    await this.#state?.close();
    await this.#checkpoints.close();
  }
}
