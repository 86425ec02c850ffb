import { MillraceError } from '../../base/index.js';
import { type BuiltInOptions, builtInShuffle, notAPlugin, type ShufflePlugin } from '../../shuffle/index.js';

/** How buffers travel between the tasks of a run: one of the built-in ways, or a module, by its URL. */
export type ShuffleKind = BuiltInShuffleKind | ShuffleModule;
export type BuiltInShuffleKind = 'mapped' | 'wire' | 'memory';
export type ShuffleModule = `file:${string}`;

/**
 * The plug-in that a kind stands for, in this process. The built-in ones differ in the memory they are given.
 * @throws MillraceError `SHUFFLE_MODULE` (invalid): one line that names the module and what is wrong with it.
 */
export async function loadShuffle(kind: ShuffleKind, builtIn: BuiltInOptions = {}): Promise<ShufflePlugin> {
  return isShuffleModule(kind) ? importShuffle(kind) : builtInShuffle(builtIn);
}

export function isShuffleModule(kind: ShuffleKind): kind is ShuffleModule {
  return kind.startsWith('file:');
}

async function importShuffle(url: ShuffleModule): Promise<ShufflePlugin> {
  let module: { readonly default?: unknown };
  try {
    module = (await import(url)) as { readonly default?: unknown };
  } catch (thrown) {
    const why = String(thrown instanceof Error ? thrown.message : thrown).split('\n')[0];
    throw shuffleModule(url, `it cannot be loaded: ${why}`, thrown);
  }
  const lacks = notAPlugin(module.default);
  if (lacks !== undefined) throw shuffleModule(url, `${lacks} (see ShufflePlugin of millrace/shuffle)`);
  return module.default as ShufflePlugin;
}

function shuffleModule(url: ShuffleModule, why: string, cause?: unknown): MillraceError {
  const message = `--shuffle: ${decodeURI(url.replace(/^file:\/\//, ''))} is no shuffle: ${why}`;
  return new MillraceError('invalid', 'SHUFFLE_MODULE', message, { cause, context: { module: url } });
}
