import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { mappedMemory, type SharedMemory, silentLogger, systemClock } from '../../base/index.js';
import { nodeNetwork, rpcPeer } from '../../base/rpc/index.js';
import { type RegionStore, ShuffleService, type ShuffleSettings, type WriterDescriptor } from '../../shuffle/index.js';
import type { SuiteContext } from '../harness.js';
import { type Peer, startProcess } from '../peer.js';

/** A shuffle service in this process, as the daemon would be, and its clients. */
export interface ShuffleHost {
  readonly service: ShuffleService;
  readonly clients: readonly Peer[];
  /** Where the memory is mapped. */
  readonly folder: string | undefined;
  close(): Promise<void>;
}

export interface ShuffleHostOptions {
  readonly name: string;
  readonly memory: SharedMemory;
  readonly folder: string | undefined;
  readonly clients: readonly Peer[];
  readonly settings?: Partial<ShuffleSettings>;
  readonly regions?: RegionStore;
}

/** Starts the service; all clients serve `open` (`peers/shuffle-client.ts`). */
export async function openHost(context: SuiteContext, options: ShuffleHostOptions): Promise<ShuffleHost> {
  const { name, memory, folder, clients, settings = {}, regions } = options;
  const clock = systemClock();
  const service = await ShuffleService.open({
    memory,
    clock,
    logger: silentLogger(),
    settings,
    ...(regions === undefined ? {} : { regions }),
  });
  const address = `unix:${join(context.folder, `${name}.sock`)}`;
  const listener = await nodeNetwork({ clock }).listen(address, (c) => service.attach(rpcPeer(c, { clock })));
  for (const client of clients) await client.call('open', { address, folder });
  return {
    service,
    clients,
    folder,
    async close() {
      await Promise.all(clients.map((client) => client.stop()));
      await service.close();
      await listener.close();
    },
  };
}

/** As `openHost`, with processes of one peer module that map the memory; undefined where there is none. */
export async function openMappedHost(
  context: SuiteContext,
  name: string,
  module: URL,
  settings?: Partial<ShuffleSettings>,
): Promise<ShuffleHost | undefined> {
  if (context.memoryFolder === undefined) {
    context.progress(`shuffle.${name} left out: no memory-backed folder here`);
    return undefined;
  }
  const folder = join(context.memoryFolder, name);
  mkdirSync(folder);
  const clients = [startProcess(module), startProcess(module)];
  const memory = mappedMemory({ folder });
  return openHost(context, { name, memory, folder, clients, ...(settings === undefined ? {} : { settings }) });
}

/** A writer of one pipelined partition, `NAME.out`. */
export function pipelined(
  writer: string,
  shape: { readonly subpartitions?: number; readonly broadcastTo?: number } = {},
): WriterDescriptor {
  const { subpartitions = 1, broadcastTo } = shape;
  const partition = {
    partition: partitionOf(writer),
    type: 'pipelined',
    subpartitions,
    broadcast: broadcastTo !== undefined,
    consumers: broadcastTo ?? 1,
  } as const;
  return { writer, epoch: 1, partitions: [partition] };
}

export function partitionOf(writer: string): string {
  return `${writer}.out`;
}
