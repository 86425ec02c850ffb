import { test } from 'node:test';
import { heapMemory, sharedArrayMemory, sleep, systemClock } from '../base/index.js';
import { shuffleConformance } from './conformance.js';
import { openLocalShuffle } from './local-shuffle.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { temporaryRegions } from './temporary-regions.test.support.js';

for (const [name, memory, spills] of [
  ['heap', heapMemory, false],
  ['heap and disk', heapMemory, true],
  ['shared array buffers', sharedArrayMemory, false],
  ['shared array buffers and disk', sharedArrayMemory, true],
] as const) {
  shuffleConformance(
    name,
    async () => {
      const disk = spills ? await temporaryRegions() : undefined;
      const clock = systemClock();
      const regions = disk === undefined ? {} : { regions: disk.regions };
      const shuffle = await openLocalShuffle({ memory: memory(), clock, settings: TEST_SETTINGS, ...regions });
      const { master, environment } = shuffle;
      const { unconsumedBytesMax } = TEST_SETTINGS;
      return {
        master,
        producer: environment,
        consumer: environment,
        unconsumedBytesMax,
        spills,
        turn: () => sleep(clock, 2),
        async close() {
          await shuffle.close();
          disk?.remove();
        },
      };
    },
    (title, run) => test(title, run),
  );
}
