import { type Clock, MillraceError, mappedMemory, systemClock } from '../base/index.js';
import { connectPeer, nodeNetwork } from '../base/rpc/index.js';
import type { ShuffleClientEnd } from './plugin.js';
import type { ShuffleSettings } from './settings.js';
import { shuffleClient } from './shuffle-client.js';

export interface ConnectShuffleOptions {
  /** Of a daemon: what it prints as `listening` (`unix:/path`) or as `data` (`ws://host:port/data`). */
  readonly address: string;
  /** The content of its token file: hex, white space around it does not matter. */
  readonly token: string;
  /**
   * The daemon's memory-backed folder (what it prints as `buffers`), for a process on the same host: buffers are then read and
   * written in place. Without it they travel over the connection.
   */
  readonly memoryFolder?: string | undefined;
  /** Who this is, in the daemon's logs. */
  readonly role?: string;
  /** Limits of what this side writes: see `ShuffleSettings`. */
  readonly settings?: Partial<ShuffleSettings>;
  readonly clock?: Clock;
}

/** A connection to a running daemon. */
export interface ShuffleConnection extends ShuffleClientEnd {
  /** Resolves when the connection has ended, with the reason unless this side closed it. */
  readonly closed: Promise<Error | undefined>;
}

/**
 * Connects a program of any kind to the shuffle service of a running `millrace daemon`. One connection for each thread; `close`
 * ends it, and what was published stays.
 * @throws MillraceError `TOKEN` (invalid), `CONNECT_FAILED`, `HELLO_TIMEOUT` (unavailable), `AUTH_FAILED`, `VERSION_MISMATCH` (invalid),
 *   `MAPPING_UNAVAILABLE` (unavailable) where memory cannot be mapped: then do without `memoryFolder`.
 */
export async function connectShuffle(options: ConnectShuffleOptions): Promise<ShuffleConnection> {
  const { address, memoryFolder, role = 'client', settings = {}, clock = systemClock() } = options;
  const token = tokenBytes(options.token);
  const memory = memoryFolder === undefined ? {} : { memory: mappedMemory({ folder: memoryFolder }) };
  const peer = await connectPeer(nodeNetwork({ clock }), address, { token, role, clock });
  const client = shuffleClient({ peer, clock, settings, ...memory });
  return {
    master: client.master,
    environment: client.environment,
    closed: peer.closed,
    async close() {
      await client.close();
      peer.close();
    },
  };
}

function tokenBytes(text: string): Uint8Array {
  const hex = text.trim();
  if (/^([0-9a-f]{2}){16,256}$/i.test(hex)) return Buffer.from(hex, 'hex');
  throw new MillraceError('invalid', 'TOKEN', 'a token has 16 to 256 bytes in hex: the content of a token file');
}
