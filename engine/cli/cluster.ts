import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Clock,
  type Connection,
  type Listener,
  type Logger,
  type LogLevel,
  MillraceError,
  type Network,
  nodeProcessControl,
  type ProcessControl,
  type ProcessHandle,
  type Random,
  systemClock,
  systemRandom,
  type Timer,
} from '../../base/index.js';
import { type AuthenticatedPeer, acceptPeer, nodeNetwork, type RpcPeer } from '../../base/rpc/index.js';
import type { CheckpointLocation } from '../../checkpoint/index.js';
import type { ShuffleClientEnd, ShuffleMaster } from '../../shuffle/index.js';
import type { DaemonSettings } from '../daemon/index.js';
import {
  decodeRegisterWorker,
  type JobArtefact,
  loadShuffle,
  SERVICE,
  SHUFFLE_SETTINGS,
  type ShuffleKind,
  type StateStoreKind,
  type WorkerSettings,
} from '../runtime/index.js';
import type { SchedulerDriver } from '../scheduler/index.js';
import { connectDaemon } from './connect-daemon.js';
import type { RunFolders } from './run-folders.js';
import { VERSION } from './version.js';

/** What a cluster stands on: the machine, or what stands in for it. */
export interface ClusterSurroundings {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly control: ProcessControl;
}

const STATE_MEMORY_BYTES = 256 * 2 ** 20;

export interface ClusterOptions {
  readonly folders: Pick<RunFolders, 'runId' | 'path' | 'memory' | 'socket'>;
  readonly checkpoints: CheckpointLocation;
  readonly workers: number;
  readonly slots: number;
  readonly shuffle: ShuffleKind;
  /** `memory` by default. */
  readonly stateStore?: StateStoreKind;
  /** Of one task, with `tiered`. Default 256 MiB. */
  readonly stateMemoryBytes?: number | undefined;
  /** Where the daemon keeps state of completed checkpoints, with `tiered`; a folder of the run by default. */
  readonly hostStateFolder?: string | undefined;
  readonly job: JobArtefact;
  /** Where the daemon serves its front door, for clients with this token (hex); none without. */
  readonly http?: { readonly host: string; readonly port: number; readonly token: string } | undefined;
  readonly logger: Logger;
  /** Of the processes it starts. */
  readonly logLevel: LogLevel;
  /** This machine and its processes by default. */
  readonly surroundings?: ClusterSurroundings;
}

const HEARTBEAT_MS = 1000;
/** A worker that says nothing for so long is taken for dead: killed, and replaced. */
const HEARTBEAT_TIMEOUT_MS = 5000;
const STOP_TIMEOUT_MS = 5000;
const RESPAWNS_MAX = 50;
/** In a row: one may be killed while it starts, like any other worker; a machine on which none starts is a failure. */
const FAILED_STARTS_MAX = 5;

interface WorkerRecord {
  readonly name: string;
  readonly handle: ProcessHandle;
  heardMs: number;
}

/** The processes of an embedded run: one daemon, the workers, and the socket on which they find this scheduler. */
export class Cluster {
  readonly daemon: RpcPeer;
  readonly #shuffle: ShuffleClientEnd;
  readonly #options: ClusterOptions;
  readonly #control: ProcessControl;
  readonly #token: string;
  readonly #daemonHandle: ProcessHandle;
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #workers = new Map<string, WorkerRecord>();
  readonly #peers = new Set<RpcPeer>();
  /** Workers that are starting. */
  readonly #starts = new Set<Promise<void>>();
  #failedStarts = 0;
  #listener: Listener | undefined;
  #driver: SchedulerDriver | undefined;
  #spawned = 0;
  #closing: Promise<void> | undefined;
  #watch: Timer | undefined;
  #watchedMs = 0;

  private constructor(parts: {
    readonly options: ClusterOptions;
    readonly control: ProcessControl;
    readonly token: string;
    readonly network: Network;
    readonly clock: Clock;
    readonly daemonHandle: ProcessHandle;
    readonly daemon: RpcPeer;
    readonly shuffle: ShuffleClientEnd;
  }) {
    this.#options = parts.options;
    this.#control = parts.control;
    this.#token = parts.token;
    this.#network = parts.network;
    this.#clock = parts.clock;
    this.#daemonHandle = parts.daemonHandle;
    this.daemon = parts.daemon;
    this.#shuffle = parts.shuffle;
  }

  /** Starts the daemon and connects to it. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const { clock, random, network, control } = options.surroundings ?? (await thisMachine(options));
    const { http } = options;
    const token = http?.token ?? random.nonce() + random.nonce();
    const address = options.folders.socket('daemon');
    const settings: DaemonSettings = {
      address,
      token,
      host: options.folders.runId,
      checkpoints: options.checkpoints,
      tierFolder: join(options.folders.path, 'tier'),
      shuffle: options.shuffle,
      memoryFolder: options.folders.memory,
      runFolders: [options.folders.path, ...(options.folders.memory === undefined ? [] : [options.folders.memory])],
      errorFile: join(options.folders.path, 'daemon.error'),
      spillFolders: [join(options.folders.path, 'spill')],
      ...(options.stateStore === 'tiered'
        ? { stateFolder: options.hostStateFolder ?? join(options.folders.path, 'host-state') }
        : {}),
      http: http && { host: http.host, port: http.port },
      logLevel: options.logLevel,
    };
    const daemonHandle = await control.spawn('daemon', 'daemon', settings);
    try {
      const daemon = await connectDaemon({
        network,
        clock,
        address,
        token: Buffer.from(token, 'hex'),
        handle: daemonHandle,
        errorFile: settings.errorFile,
      });
      const plugin = await loadShuffle(options.shuffle);
      const { logger } = options;
      const shuffle = await plugin.openClient({ peer: daemon, clock, logger, settings: SHUFFLE_SETTINGS });
      return new Cluster({ options, control, token, network, clock, daemonHandle, daemon, shuffle });
    } catch (thrown) {
      daemonHandle.signal('kill');
      await daemonHandle.exited;
      throw thrown;
    }
  }

  get master(): ShuffleMaster {
    return this.#shuffle.master;
  }

  /** Address of the daemon's front door; undefined when it has none. */
  async frontDoor(): Promise<string | undefined> {
    const address = Buffer.from(await this.daemon.request(SERVICE.frontDoor, new Uint8Array(0))).toString('utf8');
    return address === '' ? undefined : address;
  }

  /** Lets workers connect to this driver, and starts them. */
  async serve(driver: SchedulerDriver): Promise<void> {
    this.#driver = driver;
    const address = this.#options.folders.socket('scheduler');
    this.#listener = await this.#network.listen(address, (connection) => void this.#accept(connection));
    this.#watchHeartbeats();
    await Promise.all(Array.from({ length: this.#options.workers }, () => this.#spawnWorker()));
  }

  /** SIGKILLs the first worker that runs. Returns its name. */
  killWorker(): string {
    const [worker] = this.#workers.values();
    if (worker === undefined) throw new MillraceError('unavailable', 'NO_WORKER', 'there is no worker to kill');
    worker.handle.signal('kill');
    return worker.name;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#watch?.cancel();
    for (const peer of this.#peers) peer.close();
    await this.#listener?.close();
    await Promise.all(this.#starts);
    const workers = [...this.#workers.values()].map((worker) => worker.handle);
    await this.#stop(workers);
    await this.#shuffle.close();
    this.daemon.close();
    await this.#stop([this.#daemonHandle]);
  }

  /** Asks nicely, then does not. */
  async #stop(handles: readonly ProcessHandle[]): Promise<void> {
    for (const handle of handles) handle.signal('stop');
    const timer = this.#clock.schedule(STOP_TIMEOUT_MS, () => {
      for (const handle of handles) handle.signal('kill');
    });
    await Promise.all(handles.map((handle) => handle.exited));
    timer.cancel();
  }

  #spawnWorker(): Promise<void> {
    const start = this.#startWorker().finally(() => this.#starts.delete(start));
    this.#starts.add(start);
    return start;
  }

  async #startWorker(): Promise<void> {
    const { folders, shuffle, stateStore = 'memory', slots, job, logger } = this.#options;
    const name = `w${++this.#spawned}`;
    if (this.#spawned > this.#options.workers + RESPAWNS_MAX) {
      this.#driver?.cancel(`workers keep dying (${RESPAWNS_MAX} replaced); see their logs`);
      return;
    }
    const settings: WorkerSettings = {
      worker: name,
      slots,
      runId: folders.runId,
      version: VERSION,
      job,
      schedulerAddress: folders.socket('scheduler'),
      daemonAddress: folders.socket('daemon'),
      token: this.#token,
      shuffle,
      memoryFolder: folders.memory,
      stateStore,
      stateMemoryBytes: this.#options.stateMemoryBytes ?? STATE_MEMORY_BYTES,
      stateFolder: join(folders.path, 'state'),
      heartbeatMs: HEARTBEAT_MS,
      logLevel: this.#options.logLevel,
    };
    try {
      const handle = await this.#control.spawn('worker', name, settings);
      this.#failedStarts = 0;
      if (this.#closing !== undefined) {
        handle.signal('kill');
        await handle.exited;
        return;
      }
      this.#workers.set(name, { name, handle, heardMs: this.#clock.monotonicMs() });
      void handle.exited.then(() => this.#workerExited(name));
    } catch (thrown) {
      if (this.#closing !== undefined) return;
      logger.warn({ worker: name, error: String(thrown) }, 'a worker did not start');
      if (++this.#failedStarts < FAILED_STARTS_MAX) return await this.#startWorker();
      this.#driver?.cancel(MillraceError.from(thrown).message);
    }
  }

  #workerExited(name: string): void {
    this.#workers.delete(name);
    if (this.#closing !== undefined) return;
    this.#driver?.loseWorker(name);
    void this.#spawnWorker();
  }

  async #accept(connection: Connection): Promise<void> {
    let peer: AuthenticatedPeer;
    try {
      peer = await acceptPeer(connection, {
        token: Buffer.from(this.#token, 'hex'),
        role: 'scheduler',
        clock: this.#clock,
      });
    } catch (thrown) {
      this.#options.logger.warn({ error: String(thrown) }, 'a connection was refused');
      return;
    }
    this.#peers.add(peer);
    void peer.closed.then(() => this.#peers.delete(peer));
    if (peer.role.startsWith('slot ')) this.#driver?.serveSlot(peer);
    else this.#serveWorker(peer);
  }

  #serveWorker(peer: RpcPeer): void {
    let name = '';
    peer.serve(SERVICE.registerWorker, (body) => {
      const registered = decodeRegisterWorker(body);
      name = registered.worker;
      if (registered.version !== VERSION) {
        throw new MillraceError(
          'invalid',
          'VERSION_MISMATCH',
          `worker ${name} is of version ${registered.version}, the scheduler of ${VERSION}`,
        );
      }
      return undefined;
    });
    peer.serve(SERVICE.heartbeat, () => {
      const worker = this.#workers.get(name);
      if (worker !== undefined) worker.heardMs = this.#clock.monotonicMs();
      return undefined;
    });
  }

  #watchHeartbeats(): void {
    const nowMs = this.#clock.monotonicMs();
    // Our own pause (a stopped process, a suspended laptop) is not the workers' silence.
    const paused = this.#watchedMs > 0 && nowMs - this.#watchedMs > 2 * HEARTBEAT_MS;
    this.#watchedMs = nowMs;
    for (const worker of this.#workers.values()) {
      if (paused) worker.heardMs = nowMs;
      if (nowMs - worker.heardMs <= HEARTBEAT_TIMEOUT_MS) continue;
      this.#options.logger.warn({ worker: worker.name }, 'a worker has gone silent; it is replaced');
      worker.handle.signal('kill');
    }
    this.#watch = this.#clock.schedule(HEARTBEAT_MS, () => this.#watchHeartbeats());
  }
}

async function thisMachine({ shuffle, logger }: ClusterOptions): Promise<ClusterSurroundings> {
  const clock = systemClock();
  const control =
    shuffle === 'memory'
      ? // Daemon and workers in this process: all of their code, which a run with processes does without.
        (await import('./in-process-control.js')).inProcessControl(logger)
      : spawnControl();
  return { clock, random: systemRandom(), network: nodeNetwork({ clock }), control };
}

function spawnControl(): ProcessControl {
  const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  return nodeProcessControl({
    entry: { daemon: path('../daemon/main.js'), worker: path('../runtime/worker-main.js') },
  });
}
