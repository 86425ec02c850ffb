import type { MessagePort } from 'node:worker_threads';
import {
  type Logger,
  MillraceError,
  nodeByteFiles,
  nodeDisk,
  remoteMappedMemory,
  remoteSharedArrayMemory,
  type SharedMemory,
  stderrLogger,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import { connectPeer, nodeNetwork, type RpcPeer } from '../../base/rpc/index.js';
import type { ShuffleClientEnd } from '../../shuffle/index.js';
import { lmdbBaseStores, loadLmdb, PortWriter } from '../../statestore/index.js';
import { loadJob } from './job-loader.js';
import { openOnLocalState } from './local-state.js';
import { loadShuffle } from './shuffle-kind.js';
import { SHUFFLE_SETTINGS } from './shuffle-settings.js';
import { Slot } from './slot.js';
import { loadStateStore } from './state-store-kind.js';
import type { TaskEnvironment } from './task-environment.js';
import type { SlotSettings } from './worker-settings.js';

/**
 * What a slot's thread is given; `port` leads to the host, who owns the regions (`--shuffle memory`) or maps them, `writer` to the
 * thread that writes the segments of all slots of this process.
 */
export interface SlotThread {
  readonly settings: SlotSettings;
  readonly writer: MessagePort;
  readonly port?: MessagePort;
}

/**
 * A slot's thread: one call that lasts as long as the slot. An error ends the whole thread, not only the call, so that nothing of
 * it lives on when its host gives its mappings back.
 */
export default async function slotMain({ settings, writer, port }: SlotThread): Promise<void> {
  const logger = stderrLogger(settings.logLevel, { part: 'slot', slot: `${settings.worker}/${settings.slot}` });
  try {
    await runSlot(settings, new PortWriter(writer), port, logger);
  } catch (error) {
    logger.error({ error: String(error), stack: (error as Error).stack }, 'slot failed');
    process.exit(1);
  }
}

async function runSlot(
  settings: SlotSettings,
  writer: PortWriter,
  port: MessagePort | undefined,
  logger: Logger,
): Promise<void> {
  const clock = systemClock();
  const network = nodeNetwork({ clock });
  // Before a task waits for it.
  if (settings.stateStore === 'tiered') await loadLmdb();
  const token = Buffer.from(settings.token, 'hex');
  const role = `slot ${settings.worker}/${settings.slot}`;
  const daemon = await connectPeer(network, settings.daemonAddress, { token, role, clock });
  const scheduler = await connectPeer(network, settings.schedulerAddress, { token, role, clock });
  const stateStore = await loadStateStore(settings.stateStore, { writer });
  const stores = await stateStore.open({
    clock,
    random: systemRandom(),
    logger,
    folder: settings.stateFolder,
    // The checkpoint store merges.
    chainLengthMax: Number.POSITIVE_INFINITY,
  });
  const slot = new Slot({
    worker: settings.worker,
    slot: settings.slot,
    runId: settings.runId,
    graph: await loadJob(settings.job),
    clock,
    disk: nodeDisk(),
    logger,
    scheduler,
    daemon,
    shuffle: (await openShuffle(settings, daemon, port, logger)).environment,
    createState: (range) => stores.create(range),
    ...(settings.stateStore === 'tiered' ? { openState: stateOpener(settings, daemon, writer, logger) } : {}),
  });
  const writerLost = await Promise.race([slot.run().then(() => false), writer.closed.then(() => true)]);
  if (writerLost)
    throw new MillraceError('unavailable', 'STATE_WRITER_LOST', 'the thread that writes segments is gone');
  await stores.close?.();
  daemon.close();
  writer.close();
}

/** Of tasks whose state is larger than memory: what the host has is read where it is. */
function stateOpener(
  settings: SlotSettings,
  daemon: RpcPeer,
  writer: PortWriter,
  logger: Logger,
): NonNullable<TaskEnvironment['openState']> {
  const local = { daemon, bases: lmdbBaseStores(), files: nodeByteFiles(), logger };
  const { stateMemoryBytes: memoryBytesMax } = settings;
  const store = { chainLengthMax: Number.POSITIVE_INFINITY, writer, memoryBytesMax };
  return (operator, range, segments) => openOnLocalState(operator, range, segments, local, store);
}

async function openShuffle(
  settings: SlotSettings,
  peer: RpcPeer,
  port: MessagePort | undefined,
  logger: Logger,
): Promise<ShuffleClientEnd> {
  const memory = memoryOf(settings, port);
  const plugin = await loadShuffle(settings.shuffle, memory === undefined ? {} : { memory });
  return plugin.openClient({ peer, clock: systemClock(), logger, settings: SHUFFLE_SETTINGS });
}

/** Where regions are shared with the daemon; undefined when all buffers go over the connection. */
function memoryOf(settings: SlotSettings, port: MessagePort | undefined): SharedMemory | undefined {
  if (port === undefined) return undefined;
  return settings.shuffle === 'mapped' ? remoteMappedMemory(port) : remoteSharedArrayMemory(port);
}
