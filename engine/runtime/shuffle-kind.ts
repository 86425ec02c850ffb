import { type BuiltInOptions, builtInShuffle, notAPlugin, type ShufflePlugin } from '../../shuffle/index.js';

import { importPlugin, type ModuleUrl } from './plugin-module.js';

/** How buffers travel between the tasks of a run: one of the built-in ways, or a module, by its URL. */
export type ShuffleKind = BuiltInShuffleKind | ModuleUrl;
export type BuiltInShuffleKind = 'mapped' | 'wire' | 'memory';

/**
 * The plug-in that a kind stands for, in this process. The built-in ones differ in the memory they are given.
 * @throws MillraceError `SHUFFLE_MODULE` (invalid): one line that names the module and what is wrong with it.
 */
export async function loadShuffle(kind: ShuffleKind, builtIn: BuiltInOptions = {}): Promise<ShufflePlugin> {
  if (!isShuffleModule(kind)) return builtInShuffle(builtIn);
  return (await importPlugin(kind, SHUFFLE_PLUGIN, notAPlugin)) as ShufflePlugin;
}

export function isShuffleModule(kind: ShuffleKind): kind is ModuleUrl {
  return kind.startsWith('file:');
}

const SHUFFLE_PLUGIN = {
  option: '--shuffle',
  what: 'shuffle',
  contract: 'ShufflePlugin of millrace/shuffle',
  code: 'SHUFFLE_MODULE',
} as const;
