import type { Clock, Logger } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import type { ShuffleSettings } from './settings.js';
import type { ShuffleServiceMetrics } from './shuffle-service.js';
import type { ShuffleEnvironment, ShuffleMaster } from './spi.js';

/**
 * A shuffle that is chosen by name: `--shuffle mapped`, `wire`, `memory`, or the name of a module whose default export is
 * one of these. `example-plugin.ts` is a whole one; `shuffleConformance` is the test that each has to pass.
 *
 * The module is imported once in every process and thread of a run: by the command that starts it (to see that it is
 * there), by the daemon (`openService`), by the scheduler and by each slot of a worker (`openClient`). So it must not
 * do anything when it is imported, and the two ends share nothing but the connection. What they say to each other over
 * it is theirs alone: they choose service names with a prefix of their own, and any encoding.
 *
 * Processes die at any moment. What the service promises in `spi.ts` must hold when a worker does: its connection
 * closes, and the service cleans up after it. It may also close while the worker lives, and is only stopped. The daemon is the
 * one process that a run does not outlive.
 *
 * Errors of the contract must be `MillraceError`s (of the running `millrace/base`): their code survives the connection.
 */
export interface ShufflePlugin {
  /** For logs and `GET /info`. */
  readonly name: string;
  /** The daemon's end. Whatever it throws keeps the daemon from starting, and its message is what the user reads. */
  openService(host: ShuffleHost): Promise<ShuffleServiceEnd>;
  /** The other end of one connection to it, in a thread that writes, reads or schedules. */
  openClient(host: ShuffleClientHost): Promise<ShuffleClientEnd>;
}

export interface ShuffleHost {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Limits that this program asks for; the same on both ends. Those that mean nothing to a plug-in it may leave aside. */
  readonly settings: Partial<ShuffleSettings>;
}

export interface ShuffleClientHost extends ShuffleHost {
  /** To the daemon, authenticated. It serves other things too and stays its owner's: not to be closed here. */
  readonly peer: RpcPeer;
}

export interface ShuffleServiceEnd {
  /** For the control API and the metrics of the daemon. */
  readonly master: ShuffleMaster;
  /** Gauges and counters of now, as far as there are any. */
  readonly metrics?: Partial<ShuffleServiceMetrics>;
  /** Serves one client until `peer.closed`. Called before the peer's first message is read. */
  attach(peer: RpcPeer): void;
  /** Gives everything back. Connections are closed by their owner. */
  close(): Promise<void>;
}

export interface ShuffleClientEnd {
  readonly master: ShuffleMaster;
  readonly environment: ShuffleEnvironment;
  /** Detaches everything that was opened here. */
  close(): Promise<void>;
}

/** Whether a module's default export is a plug-in; if not, what it lacks. */
export function notAPlugin(exported: unknown): string | undefined {
  if (exported === undefined) return 'it has no default export';
  if (typeof exported !== 'object' || exported === null) return 'its default export is no object';
  const plugin = exported as Partial<Record<keyof ShufflePlugin, unknown>>;
  if (typeof plugin.name !== 'string' || plugin.name === '') return 'its default export has no name';
  for (const method of ['openService', 'openClient'] as const) {
    if (typeof plugin[method] !== 'function') return `its default export has no method ${method}`;
  }
  return undefined;
}
