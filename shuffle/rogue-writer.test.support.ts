import { mappedMemory, systemClock } from '../base/index.js';
import { noDoorbell } from './doorbell.js';
import { LocalEnvironment } from './local-environment.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import type { WriterDescriptor } from './spi.js';

// A process that publishes as fast as it can and never looks at anything but its own publications:
//   node rogue-writer FOLDER DESCRIPTOR
// When it is fenced it says what it believes to have published, and ends.
const [folder, descriptor] = process.argv.slice(2) as [string, string];
const environment = new LocalEnvironment({
  memory: mappedMemory({ folder }),
  clock: systemClock(),
  doorbell: noDoorbell(),
  settings: TEST_SETTINGS,
});
const writer = await environment.openWriter(JSON.parse(descriptor) as WriterDescriptor);
process.send?.({ opened: true });
const nothing = new Uint8Array(0);
let seq = 0;
try {
  for (;;) {
    if (!writer.available) {
      await writer.whenAvailable(1);
      continue;
    }
    writer.partitions[0]?.emit(0, numberedBytes(seq), 1);
    writer.partitions[0]?.emit(1, numberedBytes(seq), 1);
    writer.publish(nothing);
    seq++;
  }
} catch (e) {
  const { code } = e as { code?: string };
  await environment.close();
  process.send?.({ code, position: writer.position }, () => process.disconnect());
}
