import { test } from 'node:test';
import { heapMemory, sharedArrayMemory, sleep, systemClock } from '../base/index.js';
import { shuffleConformance } from './conformance.js';
import { openLocalShuffle } from './local-shuffle.js';
import { TEST_SETTINGS } from './settings.test.support.js';

for (const [name, memory] of [
  ['heap', heapMemory],
  ['shared array buffers', sharedArrayMemory],
] as const) {
  shuffleConformance(
    name,
    async () => {
      const shuffle = await openLocalShuffle({ memory: memory(), clock: systemClock(), settings: TEST_SETTINGS });
      const turn = () => sleep(systemClock(), 2);
      const { master, environment } = shuffle;
      const { unconsumedBytesMax } = TEST_SETTINGS;
      return {
        master,
        producer: environment,
        consumer: environment,
        unconsumedBytesMax,
        turn,
        close: () => shuffle.close(),
      };
    },
    (title, run) => test(title, run),
  );
}
