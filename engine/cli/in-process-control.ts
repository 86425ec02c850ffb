import {
  bootId,
  type Logger,
  nodeDisk,
  type ProcessControl,
  type ProcessExit,
  type ProcessHandle,
  sharedArrayMemory,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import { nodeNetwork } from '../../base/rpc/index.js';
import { builtInShuffle } from '../../shuffle/index.js';
import { Daemon, type DaemonSettings, openState, spillOptions } from '../daemon/index.js';
import { Worker, type WorkerSettings } from '../runtime/index.js';

/**
 * Daemon and workers inside this process, over one set of SharedArrayBuffers (`--shuffle memory`). A worker is its threads: killing
 * it terminates them where they stand, as SIGKILL would.
 */
export function inProcessControl(logger: Logger): ProcessControl {
  const memory = sharedArrayMemory();
  const clock = systemClock();
  const network = nodeNetwork({ clock });
  return {
    async spawn(role, name, settings) {
      if (role === 'daemon') {
        const surroundings = {
          clock,
          disk: nodeDisk(),
          random: systemRandom(),
          logger: logger.child({ part: 'daemon' }),
        };
        const ofDaemon = settings as DaemonSettings;
        const spill = await spillOptions(ofDaemon, surroundings);
        const daemon = await Daemon.open({
          ...surroundings,
          settings: ofDaemon,
          state: openState(ofDaemon, bootId(), surroundings.logger),
          network,
          shuffle: builtInShuffle({ memory, ...spill }),
        });
        return handleOf(name, () => daemon.close());
      }
      const worker = new Worker({
        settings: settings as WorkerSettings,
        clock,
        network,
        logger: logger.child({ part: 'worker', worker: name }),
        pid: process.pid,
        memory,
      });
      const handle = handleOf(name, () => worker.close());
      worker.run().then(
        () => handle.signal('stop'),
        (error) => {
          logger.error({ worker: name, error: String(error) }, 'worker failed');
          handle.signal('kill');
        },
      );
      return handle;
    },
  };
}

function handleOf(name: string, close: () => Promise<void>): ProcessHandle {
  let resolveExited: (exit: ProcessExit) => void = () => {};
  const exited = new Promise<ProcessExit>((resolve) => {
    resolveExited = resolve;
  });
  let ending = false;
  return {
    name,
    pid: 0,
    exited,
    signal(kind) {
      if (ending || (kind !== 'kill' && kind !== 'stop')) return;
      ending = true;
      const exit: ProcessExit =
        kind === 'kill' ? { code: undefined, signal: 'SIGKILL' } : { code: 0, signal: undefined };
      close().then(
        () => resolveExited(exit),
        () => resolveExited(exit),
      );
    },
  };
}
