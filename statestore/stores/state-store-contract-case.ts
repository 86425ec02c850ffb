import type { KeyGroupRange, StateStore } from '../spi.js';

/** Makes an empty store that owns a range of key groups. */
export type MakeStateStore = (range: KeyGroupRange) => StateStore;

export interface StateStoreContractCase {
  readonly name: string;
  run(make: MakeStateStore): Promise<void>;
}
