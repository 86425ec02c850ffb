import { describe, it } from 'node:test';
import { MemoryStateStore } from './memory-state-store.js';
import { stateStoreContract } from './state-store-contract.js';

describe('state store: memory', () => {
  for (const contractCase of stateStoreContract) {
    it(contractCase.name, () => contractCase.run((range) => new MemoryStateStore(range)));
  }
});
