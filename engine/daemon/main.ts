import { rmSync, writeFileSync } from 'node:fs';
import {
  bootId,
  MillraceError,
  nodeDisk,
  onParentGone,
  readSettings,
  stderrLogger,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import { nodeNetwork } from '../../base/rpc/index.js';
import { Daemon, type DaemonSettings } from './daemon.js';
import { daemonShuffle } from './daemon-shuffle.js';
import { openState } from './state-thread.js';

/** The daemon process of an embedded run. Ends on SIGTERM, or when the run that owns it is gone: then it tidies up after it. */
let runFolders: readonly string[] = [];
onParentGone(() => {
  try {
    // Retries: a file may be in the making.
    for (const folder of runFolders) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  } finally {
    // What is left the next start sweeps.
    process.exit(0);
  }
});
const settings = (await readSettings()) as DaemonSettings;
runFolders = settings.runFolders;
const clock = systemClock();
const surroundings = {
  clock,
  disk: nodeDisk(),
  random: systemRandom(),
  logger: stderrLogger(settings.logLevel, { part: 'daemon' }),
};
const open = async () =>
  Daemon.open({
    ...surroundings,
    settings,
    state: openState(settings, bootId(), surroundings.logger),
    network: nodeNetwork({ clock }),
    shuffle: await daemonShuffle(settings, surroundings),
  });
const daemon = await open().catch((thrown) => {
  writeFileSync(settings.errorFile, JSON.stringify(MillraceError.from(thrown)));
  process.exit(1);
});
process.on('SIGTERM', () => void daemon.close().finally(() => process.exit(0)));
