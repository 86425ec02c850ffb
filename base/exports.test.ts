import { deepEqual, fail, ok } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';
import ts from 'typescript';
import { findSourceRoot } from './source-tree.js';
import { TOP_FOLDERS } from './tidy-rules.js';

const UPDATE = 'UPDATE_EXPORTS';
const found = findSourceRoot(import.meta.url);
ok(found !== undefined, 'this test reads the sources');
const root = found;
/** One line per exported name, sorted: `folder: name`, `folder: type name`. */
const committedFile = join(root, 'base', 'exports.txt');

function* indexFiles(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && entry.name !== 'generated') yield* indexFiles(path);
    else if (entry.name === 'index.ts') yield path;
  }
}

/** What each file exports, `export *` followed. Nothing is type-checked: names need no library. */
function exportsOf(files: readonly string[]): Map<string, string[]> {
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noLib: true,
    types: [],
  });
  const checker = program.getTypeChecker();
  const names = (file: string): string[] => {
    const source = program.getSourceFile(file);
    const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
    if (module === undefined) return [];
    return checker.getExportsOfModule(module).map((symbol) => {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      const typeOnly = (target.flags & ts.SymbolFlags.Value) === 0 || symbol.declarations?.some(isTypeExport) === true;
      return typeOnly ? `type ${symbol.name}` : symbol.name;
    });
  };
  return new Map(files.map((file) => [file, names(file).sort()]));
}

function isTypeExport(node: ts.Declaration): boolean {
  return ts.isExportSpecifier(node) && (node.isTypeOnly || node.parent.parent.isTypeOnly);
}

function doorsOfProject(): string[] {
  const files = TOP_FOLDERS.filter((folder) => existsSync(join(root, folder))).flatMap((folder) => [
    ...indexFiles(join(root, folder)),
  ]);
  const lines = [...exportsOf(files)].flatMap(([file, names]) => {
    const folder = relative(root, dirname(file));
    return names.map((name) => `${folder}: ${name}`);
  });
  return lines.sort();
}

/** `+ folder: new name`, `- folder: name that has gone`. */
function differences(committed: readonly string[], actual: readonly string[]): string[] {
  const [before, after] = [new Set(committed), new Set(actual)];
  const added = actual.filter((line) => !before.has(line)).map((line) => `+ ${line}`);
  return [...added, ...committed.filter((line) => !after.has(line)).map((line) => `- ${line}`)];
}

describe('the doors of the folders', () => {
  it('tell an added name from one that has gone', () => {
    deepEqual(differences(['a: x', 'a: type Y'], ['a: Y', 'a: x']), ['+ a: Y', '- a: type Y']);
    deepEqual(differences(['a: x'], ['a: x']), []);
  });

  it('export what is committed in base/exports.txt, no more and no less', () => {
    const actual = doorsOfProject();
    ok(actual.includes('engine: jsonLines'), 'export * is followed');
    ok(actual.includes('base: type Clock'), 'types are told from values');
    if (process.env[UPDATE] === '1') writeFileSync(committedFile, `${actual.join('\n')}\n`);
    const changes = differences(readFileSync(committedFile, 'utf8').trim().split('\n'), actual);
    if (changes.length === 0) return;
    fail(
      `the names that folders export have changed:\n  ${changes.join('\n  ')}\nIf that is meant, commit the list with the change:\n` +
        `  ${UPDATE}=1 node --test dist/base/exports.test.js && git add base/exports.txt`,
    );
  });
});
