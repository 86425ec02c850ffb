import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** For tests about the project itself: its folder, found upwards from a built file; undefined in an installed package. */
export function findSourceRoot(moduleUrl: string): string | undefined {
  let folder = dirname(fileURLToPath(moduleUrl));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) return undefined;
    folder = parent;
  }
  return existsSync(join(folder, 'base', 'source-tree.ts')) ? folder : undefined;
}

/** Paths ('/'-separated, relative to the root) and texts of all TypeScript below the given folders, generated code aside. */
export function readSources(root: string, folders: readonly string[]): Map<string, string> {
  const sources = new Map<string, string>();
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== 'generated') visit(path);
      else if (entry.name.endsWith('.ts')) sources.set(relative(root, path), readFileSync(path, 'utf8'));
    }
  };
  for (const folder of folders) if (existsSync(join(root, folder))) visit(join(root, folder));
  return sources;
}
