import { after, describe, it } from 'node:test';
import { systemClock } from '../../base/index.js';
import { immediateWriter, steppedWriter } from '../segment/state-writer.js';
import { PortWriter, WriterThread } from '../segment/writer-thread.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import { stateStoreContract } from './state-store-contract.js';

const thread = new WriterThread();
const threadWriter = new PortWriter(thread.connect());
const writers = { immediate: immediateWriter, stepped: steppedWriter(systemClock()), thread: threadWriter };

after(async () => {
  threadWriter.close();
  await thread.close();
});

for (const [name, writer] of Object.entries(writers)) {
  describe(`state store: memory, ${name} writer`, () => {
    for (const contractCase of stateStoreContract) {
      it(contractCase.name, () => contractCase.run((range) => new MemoryStateStore(range, { writer })));
    }
  });
}
