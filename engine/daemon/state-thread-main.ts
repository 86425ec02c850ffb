import { hostname } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { MillraceError, nodeByteFiles, nodeDisk, stderrLogger, systemClock, systemRandom } from '../../base/index.js';
import { lmdbBaseStores } from '../../statestore/index.js';
import { openStateCalls } from './state-calls.js';
import type { StateCall, StateReply, StateThreadSettings } from './state-thread.js';

/** The thread of a `StateThread`. */
const settings = workerData as StateThreadSettings;
const run = await openStateCalls(settings, {
  host: hostname(),
  disk: nodeDisk(),
  files: nodeByteFiles(),
  bases: lmdbBaseStores(),
  clock: systemClock(),
  random: systemRandom(),
  logger: stderrLogger(settings.logLevel, { part: 'state' }),
});

parentPort?.on('message', ({ id, call }: { readonly id: number; readonly call: StateCall }) => {
  run(call).then(
    (result) => parentPort?.postMessage({ id, result } satisfies StateReply),
    (thrown) => parentPort?.postMessage({ id, error: MillraceError.from(thrown).toJSON() } satisfies StateReply),
  );
});
