import { type MessagePort, workerData } from 'node:worker_threads';
import { type Clock, mappedMemory, remoteSharedArrayMemory, type SharedMemory } from '../../base/index.js';
import { nodeNetwork, rpcPeer } from '../../base/rpc/index.js';
import { type InputGate, type ShuffleClient, shuffleClient, type TaskWriter } from '../../shuffle/index.js';

/** How a peer finds the service. `folder`: where the memory is mapped; undefined in a thread (its memory is given) and for the wire. */
export interface ServiceAddress {
  readonly address: string;
  readonly folder: string | undefined;
}

export async function openClient(clock: Clock, { address, folder }: ServiceAddress): Promise<ShuffleClient> {
  const peer = rpcPeer(await nodeNetwork({ clock }).connect(address), { clock });
  const memory = memoryOf(folder);
  return shuffleClient({ peer, clock, ...(memory === undefined ? {} : { memory }) });
}

/** Attaches to subpartitions `from` .. `to` of a partition, at its beginning. */
export function openAll(
  client: ShuffleClient,
  partition: string,
  from: number,
  to: number,
  consumer = 0,
): Promise<InputGate> {
  const start = { seq: 0, chain: 0n };
  const channels = Array.from({ length: to - from }, (_, i) => {
    return { partition, subpartition: from + i, consumer, from: start };
  });
  return client.environment.openGate(channels);
}

/**
 * Trims as a checkpoint coordinator would, which is not the consumer: what is read does not wait for it. One trim is under
 * way at a time; what comes meanwhile is left to the next one.
 */
export class Trimmer {
  readonly #client: ShuffleClient;
  readonly #partition: string;
  #underWay: Promise<void> | undefined;
  #failure: unknown;

  constructor(client: ShuffleClient, partition: string) {
    this.#client = client;
    this.#partition = partition;
  }

  trim(seqs: () => readonly number[]): void {
    this.#underWay ??= this.#client.master
      .trim(this.#partition, seqs())
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#underWay = undefined;
      });
  }

  /** @throws what a trim failed with. */
  async done(): Promise<void> {
    await this.#underWay;
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Waits until the writer can take another step. */
export async function untilAvailable(writer: TaskWriter): Promise<void> {
  while (!writer.available) await writer.whenAvailable(100);
}

function memoryOf(folder: string | undefined): SharedMemory | undefined {
  if (folder !== undefined) return mappedMemory({ folder });
  return workerData === null || workerData === undefined
    ? undefined
    : remoteSharedArrayMemory(workerData as MessagePort);
}
