import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InvalidArgumentError } from 'commander';
import type { ModuleUrl } from '../runtime/index.js';

/**
 * A parser of `--shuffle` and `--state-store`: one of the built-in names, a file, or a package that this folder's project has
 * installed. Whether the module is what it is taken for shows when it is loaded.
 */
export function kindOrModule<K extends string>(builtIn: readonly K[]): (text: string) => K | ModuleUrl {
  return (text) => {
    const named = builtIn.find((kind) => kind === text);
    if (named !== undefined) return named;
    const path = moduleFile(text);
    if (path !== undefined) return pathToFileURL(path).href as ModuleUrl;
    const asPath = /^[./]/.test(text);
    throw new InvalidArgumentError(
      `It must be ${builtIn.join(', ')}, or a module: there is no ${asPath ? `file ${resolve(text)}` : `package ${text} in ${process.cwd()}`}.`,
    );
  };
}

function moduleFile(name: string): string | undefined {
  const path = resolve(name);
  if (name.trim() !== '' && existsSync(path) && statSync(path).isFile()) return path;
  return /^[./]|^$/.test(name) ? undefined : packageFile(name);
}

/** What `import NAME` means in a module of the working folder. `require.resolve` does not know of packages that can only be imported. */
function packageFile(name: string): string | undefined {
  const require = createRequire(resolve('package.json'));
  const [, packageName = '', subpath = ''] = /^((?:@[^/]+\/)?[^/]+)(.*)$/.exec(name) ?? [];
  for (const folder of require.resolve.paths(name) ?? []) {
    const manifest = join(folder, packageName, 'package.json');
    if (!existsSync(manifest)) continue;
    const { exports, main } = JSON.parse(readFileSync(manifest, 'utf8')) as { exports?: unknown; main?: string };
    const target = exports === undefined ? fallback(subpath, main) : exported(exports, `.${subpath}`);
    const file = target === undefined ? undefined : join(folder, packageName, target);
    return file !== undefined && existsSync(file) && statSync(file).isFile() ? file : undefined;
  }
  return undefined;
}

function fallback(subpath: string, main: string | undefined): string {
  return subpath === '' ? (main ?? 'index.js') : subpath;
}

/** The file behind one key of a package's `exports`, with the conditions under which Node imports. */
function exported(exports: unknown, key: string): string | undefined {
  const isMap = typeof exports === 'object' && exports !== null && Object.keys(exports).some((k) => k.startsWith('.'));
  const target = isMap ? (exports as Record<string, unknown>)[key] : key === '.' ? exports : undefined;
  return conditional(target);
}

function conditional(target: unknown): string | undefined {
  if (typeof target === 'string') return target;
  if (typeof target !== 'object' || target === null) return undefined;
  for (const [condition, value] of Object.entries(target)) {
    if (!['node', 'import', 'module-sync', 'default'].includes(condition)) continue;
    const file = conditional(value);
    if (file !== undefined) return file;
  }
  return undefined;
}
