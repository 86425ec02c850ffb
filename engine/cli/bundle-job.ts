import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Message, type Plugin } from 'esbuild';
import { MillraceError } from '../../base/index.js';

/** A job file made into one ES module that any process of the run can load. */
export interface JobBundle {
  /** Absolute path of the bundle. */
  readonly path: string;
  /** sha256 of its text: the version of the job's code. */
  readonly hash: string;
}

/**
 * Bundles a user's job file, TypeScript or JavaScript, into `folder/<hash>.mjs`. What it imports from `millrace` stays the engine that
 * is running; `import.meta.url` stays the job file's own, so that it can find its data beside itself.
 * @throws MillraceError `JOB_NOT_FOUND`, `JOB_BROKEN` (invalid), one line with file and line number.
 */
export async function bundleJob(file: string, folder: string): Promise<JobBundle> {
  const path = resolve(file);
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new MillraceError('invalid', 'JOB_NOT_FOUND', `there is no job file ${path}`);
  }
  let code: string;
  try {
    const result = await build({
      entryPoints: [path],
      bundle: true,
      write: false,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      logLevel: 'silent',
      define: { 'import.meta.url': JSON.stringify(pathToFileURL(path).href) },
      plugins: [runningEngine()],
    });
    code = result.outputFiles[0]?.text ?? '';
  } catch (thrown) {
    const first = (thrown as { readonly errors?: readonly Message[] }).errors?.[0];
    const where = first?.location == null ? path : `${first.location.file}:${first.location.line}`;
    throw new MillraceError('invalid', 'JOB_BROKEN', `${where}: ${first?.text ?? String(thrown)}`, { cause: thrown });
  }
  const hash = createHash('sha256').update(code).digest('hex');
  const bundle = join(folder, `${hash.slice(0, 16)}.mjs`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${bundle}.${process.pid}.tmp`, code);
  renameSync(`${bundle}.${process.pid}.tmp`, bundle);
  return { path: bundle, hash };
}

/** Points imports of `millrace` at this very engine; leaves other packages to be bundled. */
function runningEngine(): Plugin {
  const doors: Readonly<Record<string, string>> = {
    millrace: '../index.js',
    'millrace/shuffle': '../../shuffle/index.js',
    'millrace/statestore': '../../statestore/index.js',
    'millrace/checkpoint': '../../checkpoint/index.js',
    'millrace/base': '../../base/index.js',
  };
  return {
    name: 'running-engine',
    setup(builder) {
      builder.onResolve({ filter: /^millrace(\/|$)/ }, ({ path }) => {
        const door = doors[path];
        if (door === undefined)
          return {
            errors: [{ text: `'${path}' is not part of millrace (there are: ${Object.keys(doors).join(', ')})` }],
          };
        return { path: pathToFileURL(fileURLToPath(new URL(door, import.meta.url))).href, external: true };
      });
    },
  };
}
