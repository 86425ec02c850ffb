import type { StateStore } from '../spi.js';
import { stateStoreContract } from './state-store-contract.js';
import type { StateStoreContractCase } from './state-store-contract-case.js';
import type { StateStoreHost, StateStorePlugin } from './state-store-plugin.js';

/**
 * The suite that every state store has to pass, a user's own too. `test` is node:test's, or whatever names and runs a case; `host`
 * gives what a thread gives (`chainLengthMax` is the suite's own).
 */
export function stateStoreConformance(
  plugin: StateStorePlugin,
  host: () => Omit<StateStoreHost, 'chainLengthMax'>,
  test: (name: string, run: () => Promise<void>) => void,
): void {
  for (const one of stateStoreContract) {
    test(`${plugin.name}: ${one.name}`, () => runStateStoreCase(one, plugin, host()));
  }
}

/** One case; all stores that it made are closed behind it. */
export async function runStateStoreCase(
  one: StateStoreContractCase,
  plugin: StateStorePlugin,
  host: Omit<StateStoreHost, 'chainLengthMax'>,
): Promise<void> {
  const stores = await plugin.open({ ...host, chainLengthMax: 16 });
  const made: StateStore[] = [];
  try {
    await one.run((range) => {
      const store = stores.create(range);
      made.push(store);
      return store;
    });
  } finally {
    for (const store of made) await store.close?.();
    await stores.close?.();
  }
}
