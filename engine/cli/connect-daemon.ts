import { existsSync, readFileSync } from 'node:fs';
import {
  type Clock,
  MillraceError,
  type Network,
  type ProcessHandle,
  type SerializedError,
  sleep,
} from '../../base/index.js';
import { type AuthenticatedPeer, connectPeer } from '../../base/rpc/index.js';

const CONNECT_TIMEOUT_MS = 15_000;
const RETRY_MS = 10;

/**
 * Connects to a daemon that has just been started, as soon as it listens.
 * @throws MillraceError what stopped the daemon from starting, as it reported it in `errorFile`; `DAEMON_SILENT` (unavailable).
 */
export async function connectDaemon(options: {
  readonly network: Network;
  readonly clock: Clock;
  readonly address: string;
  readonly token: Uint8Array;
  readonly handle: ProcessHandle;
  readonly errorFile: string;
}): Promise<AuthenticatedPeer> {
  const { network, clock, address, token, handle, errorFile } = options;
  let exited = false;
  void handle.exited.then(() => {
    exited = true;
  });
  const deadlineMs = clock.monotonicMs() + CONNECT_TIMEOUT_MS;
  for (;;) {
    try {
      return await connectPeer(network, address, { token, role: 'scheduler', clock });
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      if (exited)
        throw (
          startError(errorFile) ??
          new MillraceError('unavailable', 'DAEMON_DIED', 'the daemon died while starting; see its log')
        );
      if (error.code !== 'CONNECT_FAILED' || clock.monotonicMs() > deadlineMs) throw error;
      await sleep(clock, RETRY_MS);
    }
  }
}

function startError(file: string): MillraceError | undefined {
  return existsSync(file)
    ? MillraceError.fromJSON(JSON.parse(readFileSync(file, 'utf8')) as SerializedError)
    : undefined;
}
