import { workerData } from 'node:worker_threads';
import { remoteSharedArrayMemory, systemClock } from '../base/index.js';
import { noDoorbell } from './doorbell.js';
import { LocalEnvironment } from './local-environment.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { BUFFER_END } from './spi.js';

// A thread that publishes `buffers` numbered buffers round robin over the subpartitions, then END.
const { port, descriptor, buffers } = workerData;
const environment = new LocalEnvironment({
  memory: remoteSharedArrayMemory(port),
  clock: systemClock(),
  doorbell: noDoorbell(),
  settings: TEST_SETTINGS,
});
const writer = await environment.openWriter(descriptor);
const [partition] = writer.partitions;
const nothing = new Uint8Array(0);
for (let i = 0; i < buffers; i++) {
  while (!writer.available) await writer.whenAvailable(100);
  partition?.emit(i % partition.descriptor.subpartitions, numberedBytes(i), 1);
  writer.publish(nothing);
}
partition?.event(BUFFER_END, nothing);
writer.publish(nothing);
await environment.close();
port.close();
