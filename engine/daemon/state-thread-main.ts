import { hostname } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import {
  checksumHex,
  MillraceError,
  nodeByteFiles,
  nodeDisk,
  stderrLogger,
  systemClock,
  systemRandom,
  xxh64,
} from '../../base/index.js';
import { openCheckpointPlace } from '../../checkpoint/index.js';
import { HostState, lmdbBaseStores } from '../../statestore/index.js';
import { KEY_GROUPS } from '../graph/index.js';
import { readHeadState } from './operator-parts.js';
import type { StateCall, StateReply, StateThreadSettings } from './state-thread.js';

/** The thread of a `StateThread`: calls come in order, and are answered in any. */
const { root, bootId, checkpoints, logLevel } = workerData as StateThreadSettings;
const logger = stderrLogger(logLevel, { part: 'state' });
const parts = { disk: nodeDisk(), clock: systemClock(), random: systemRandom(), logger };
const place = await openCheckpointPlace(checkpoints, parts, { probe: false });
const state = new HostState({
  ...parts,
  root,
  bootId,
  files: nodeByteFiles(),
  bases: lmdbBaseStores(),
  keyGroups: KEY_GROUPS,
  store: place.store,
  // Other hosts may have a folder of this path too.
  owner: `state-${checksumHex(xxh64(Buffer.from(`${hostname()} ${root}`)))}`,
  readHead: () => readHeadState(place.store),
});

async function run(call: StateCall): Promise<unknown> {
  switch (call.kind) {
    case 'hold':
      return state.hold(call.operator, call.segment);
    case 'stored':
      return state.stored(call.checkpoint, call.epoch, call.segments);
    case 'completed':
      return state.completed(call.checkpoint, call.epoch);
    case 'aborted':
      return state.aborted(call.checkpoint);
    case 'describe':
      return state.describe(call.operator, call.heat);
    case 'restore':
      return state.restore(call.operator, call.range, call.segments);
    case 'checkReaders':
      return state.checkReaders();
    case 'idle':
      return state.idle();
    default:
      await state.close();
      return place.close();
  }
}

parentPort?.on('message', ({ id, call }: { readonly id: number; readonly call: StateCall }) => {
  run(call).then(
    (result) => parentPort?.postMessage({ id, result } satisfies StateReply),
    (thrown) => parentPort?.postMessage({ id, error: MillraceError.from(thrown).toJSON() } satisfies StateReply),
  );
});
