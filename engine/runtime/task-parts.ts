import type { StateStore } from '../../statestore/index.js';
import type { OperatorChain } from './operator-chain.js';
import type { SinkTransactions } from './sink-transactions.js';
import type { SourceInput } from './source-input.js';
import type { OpenedState } from './task-environment.js';
import type { TaskInputs } from './task-inputs.js';
import type { TaskOutputs } from './task-outputs.js';

/** What a task attempt is made of; put together by `openTask`. */
export interface TaskParts {
  readonly state: StateStore;
  /** What `state` stands on. */
  readonly local: OpenedState | undefined;
  readonly chain: OperatorChain;
  readonly inputs: TaskInputs | undefined;
  readonly source: SourceInput | undefined;
  readonly outputs: TaskOutputs;
  readonly sink: SinkTransactions | undefined;
}
