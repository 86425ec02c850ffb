import type { Suite } from '../harness.js';
import { blockingRow } from './shuffle-blocking.js';
import { broadcastRows } from './shuffle-broadcast.js';
import { bufferRows } from './shuffle-buffers.js';
import { daemonKillRows } from './shuffle-daemon-kill.js';
import { latencyRows } from './shuffle-latency.js';
import { columnRows, flinkNetworkRows } from './shuffle-rows.js';
import { subpartitionRows } from './shuffle-subpartitions.js';

/** Buffers, rows, broadcasts, latency, many subpartitions, and a daemon that dies. */
export const shuffle: Suite = {
  name: 'shuffle',
  async run(context) {
    await bufferRows(context);
    await columnRows(context);
    await flinkNetworkRows(context);
    await broadcastRows(context);
    await latencyRows(context);
    await subpartitionRows(context);
    await blockingRow(context);
    await daemonKillRows(context);
  },
};
