import { mappedMemory, silentLogger, systemClock } from '../../base/index.js';
import { nodeNetwork, rpcPeer } from '../../base/rpc/index.js';
import { ShuffleService, type WriterDescriptor } from '../../shuffle/index.js';
import { servePeer } from '../peer.js';

/** The shuffle service in a process of its own, to be killed. */
const clock = systemClock();
let service: ShuffleService | undefined;

servePeer({
  async serve({ folder, address }: { folder: string; address: string }): Promise<void> {
    const opened = await ShuffleService.open({ memory: mappedMemory({ folder }), clock, logger: silentLogger() });
    await nodeNetwork({ clock }).listen(address, (connection) => opened.attach(rpcPeer(connection, { clock })));
    service = opened;
  },
  async register(writer: WriterDescriptor): Promise<void> {
    await service?.master.register(writer);
  },
  /** Of one writer: how many buffers were published, as the service finds them in memory. */
  async published(writer: string): Promise<number> {
    const found = (await service?.master.list())?.find((status) => status.writer === writer);
    return found?.partitions[0]?.nextSeqs[0] ?? -1;
  },
  async release(writer: string): Promise<void> {
    await service?.master.release(writer);
  },
});
