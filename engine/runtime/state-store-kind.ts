import {
  type BuiltInStateStore,
  builtInStateStore,
  notAStateStore,
  type StateStorePlugin,
  type StateWriter,
} from '../../statestore/index.js';
import { importPlugin, type ModuleUrl } from './plugin-module.js';

/**
 * What tasks keep their state in: one of the built-in stores, or a module, by its URL. `tiered`: as `memory`, but only what fits into a
 * budget; the rest stays on the host, where its daemon keeps it (`local-state.ts`).
 */
export type StateStoreKind = BuiltInStateStore | 'tiered' | ModuleUrl;

const WORDS = {
  option: '--state-store',
  what: 'state store',
  contract: 'StateStorePlugin of millrace/statestore',
  code: 'STATE_STORE_MODULE',
} as const;

/**
 * The plug-in that a kind stands for, in this thread; `writer` makes the segments of the built-in one in memory.
 * @throws MillraceError `STATE_STORE_MODULE` (invalid): one line that names the module and what is wrong with it.
 */
export async function loadStateStore(
  kind: StateStoreKind,
  builtIn: { readonly writer?: StateWriter } = {},
): Promise<StateStorePlugin> {
  // Where the host does not have the state, it is a store in memory.
  if (kind === 'tiered') return builtInStateStore('memory', builtIn);
  if (kind === 'memory' || kind === 'lmdb') return builtInStateStore(kind, builtIn);
  return (await importPlugin(kind, WORDS, notAStateStore)) as StateStorePlugin;
}
