import { onParentGone, readSettings, stderrLogger, systemClock } from '../../base/index.js';
import { nodeNetwork } from '../../base/rpc/index.js';
import { Worker } from './worker.js';
import type { WorkerSettings } from './worker-settings.js';

/** A worker process. Ends when the scheduler says so, is gone, or sends SIGTERM. */
onParentGone(() => process.exit(0));
const settings = (await readSettings()) as WorkerSettings;
const clock = systemClock();
const logger = stderrLogger(settings.logLevel, { part: 'worker', worker: settings.worker });
const worker = new Worker({
  settings,
  clock,
  network: nodeNetwork({ clock }),
  logger,
  pid: process.pid,
  memory: undefined,
});
process.on('SIGTERM', () => void worker.close().finally(() => process.exit(0)));
try {
  await worker.run();
  process.exit(0);
} catch (thrown) {
  // Mostly a scheduler that went while this worker was starting (Ctrl-C): no stack trace for that.
  logger.warn({ error: String(thrown) }, 'this worker could not join its run');
  process.exit(1);
}
