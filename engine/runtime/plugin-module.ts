import { MillraceError } from '../../base/index.js';

/** A module of the user's, by its URL. */
export type ModuleUrl = `file:${string}`;

/** What a module is taken for, in words. */
export interface PluginWords {
  /** The option that named it. */
  readonly option: string;
  readonly what: string;
  readonly contract: string;
  /** Of the error. */
  readonly code: string;
}

/**
 * The default export of a module. `lacks` says what it lacks to be a plug-in, if anything.
 * @throws MillraceError `words.code` (invalid): one line that names the module and what is wrong with it.
 */
export async function importPlugin(
  url: ModuleUrl,
  words: PluginWords,
  lacks: (exported: unknown) => string | undefined,
): Promise<unknown> {
  let module: { readonly default?: unknown };
  try {
    module = (await import(url)) as { readonly default?: unknown };
  } catch (thrown) {
    const why = String(thrown instanceof Error ? thrown.message : thrown).split('\n')[0];
    throw notOne(url, words, `it cannot be loaded: ${why}`, thrown);
  }
  const lacking = lacks(module.default);
  if (lacking !== undefined) throw notOne(url, words, `${lacking} (see ${words.contract})`);
  return module.default;
}

function notOne(url: ModuleUrl, { option, what, code }: PluginWords, why: string, cause?: unknown): MillraceError {
  const message = `${option}: ${decodeURI(url.replace(/^file:\/\//, ''))} is no ${what}: ${why}`;
  return new MillraceError('invalid', code, message, { cause, context: { module: url } });
}
