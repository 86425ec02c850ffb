import { onParentGone, readSettings, stderrLogger, systemClock } from '../../base/index.js';
import { nodeNetwork } from '../../base/rpc/index.js';
import { Worker } from './worker.js';
import type { WorkerSettings } from './worker-settings.js';

/** A worker process. Ends when the scheduler says so, is gone, or sends SIGTERM. */
onParentGone(() => process.exit(0));
const settings = (await readSettings()) as WorkerSettings;
const clock = systemClock();
const worker = new Worker({
  settings,
  clock,
  network: nodeNetwork({ clock }),
  logger: stderrLogger(settings.logLevel, { part: 'worker', worker: settings.worker }),
  pid: process.pid,
  memory: undefined,
});
process.on('SIGTERM', () => void worker.close().finally(() => process.exit(0)));
await worker.run();
process.exit(0);
