import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { heapMemory } from '../base/index.js';
import { countedMemory } from './counted-memory.js';

test('a gate that closes must not take the master’s mapping of the same region away', async () => {
  const retired: string[] = [];
  const memory = { ...heapMemory(), retire: (region: { name: string }) => void retired.push(region.name) };
  const [master, environment] = [countedMemory(memory), countedMemory(memory)];
  const region = await master.create('cursors', 64);
  const again = await environment.open('cursors', 'write');
  environment.retire(again);
  assert.deepEqual(retired, []);
  master.retire(region);
  assert.deepEqual(retired, ['cursors']);
});
