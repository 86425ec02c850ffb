import { posix } from 'node:path';
import ts from 'typescript';

/**
 * The layout and purity rules of this project as pure functions from sources to complaints (`path: what`), so that
 * they can be tested on planted sources. Sources: path ('/'-separated, from the root) -> text, generated code left out.
 *
 * A *unit* is a folder with a door: each top-level folder, `base/columnar`, `base/rpc`, and each folder of `engine/`.
 * The two in base stand on base's own files, which they use without a door.
 */
export type Sources = ReadonlyMap<string, string>;

export const TOP_FOLDERS = ['base', 'checkpoint', 'statestore', 'shuffle', 'engine', 'chaos', 'bench'] as const;

/** Which top-level folders each may import. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  base: [],
  checkpoint: ['base'],
  statestore: ['base', 'checkpoint'],
  shuffle: ['base'],
  engine: ['base', 'checkpoint', 'statestore', 'shuffle'],
  chaos: ['base', 'checkpoint', 'statestore', 'shuffle', 'engine'],
  bench: ['base', 'checkpoint', 'statestore', 'shuffle', 'engine'],
};

const LINES_MAX = 500;
const README_LINES_MAX = 120;
const VAGUE_NAMES = ['types.ts', 'utils.ts', 'util.ts', 'helpers.ts', 'helper.ts', 'common.ts', 'misc.ts'];

/** These may read clocks and the environment, print and exit; nothing else outside base/ may. */
const ENTRY_POINTS = [
  /^engine\/cli\//,
  /^engine\/daemon\/main\.ts$/,
  /^engine\/runtime\/[^/]+-main\.ts$/,
  /^chaos\/main\.ts$/,
  /^bench\//,
];

const AMBIENT_GLOBALS = new Set([
  'process',
  'console',
  'performance',
  'globalThis',
  'setTimeout',
  'setInterval',
  'setImmediate',
]);
const AMBIENT_MEMBERS = new Set([
  'Date.now',
  'Math.random',
  'crypto.randomUUID',
  'crypto.getRandomValues',
  'Atomics.wait',
]);
const AMBIENT_MODULES = new Set([
  'node:process',
  'node:timers',
  'node:timers/promises',
  'node:perf_hooks',
  'node:console',
]);
const AMBIENT_IMPORTS = new Set([
  'randomBytes',
  'randomFill',
  'randomFillSync',
  'randomInt',
  'randomUUID',
  'getRandomValues',
]);

/** Tests, and what only tests import (`x.test.support.ts`). */
export function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.endsWith('.test.support.ts');
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
}

function unitOf(path: string): string {
  const [top = '', second = '', third] = path.split('/');
  const nested = third !== undefined && (top === 'engine' || second === 'columnar' || second === 'rpc');
  return nested ? `${top}/${second}` : top;
}

interface Import {
  /** As written. */
  readonly specifier: string;
  /** The source it means, or undefined for packages. */
  readonly target: string | undefined;
}

function importsOf(path: string, text: string): Import[] {
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => ({
    specifier: fileName,
    target: fileName.startsWith('.') ? posix.join(posix.dirname(path), fileName).replace(/\.js$/, '.ts') : undefined,
  }));
}

/**
 * Directions between folders, and doors: another unit is entered by its index.ts, one's own never; tests, bench and chaos
 * may use its test support too.
 */
export function importProblems(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    for (const { target } of importsOf(path, text)) {
      const why = target === undefined ? undefined : importProblem(path, target);
      if (why !== undefined) problems.push(`${path}: imports ${target}: ${why}`);
    }
  }
  return problems;
}

function importProblem(path: string, target: string): string | undefined {
  const top = path.split('/')[0] as string;
  const targetTop = target.split('/')[0] as string;
  const unit = unitOf(path);
  const targetUnit = unitOf(target);
  if (top !== targetTop && !(ALLOWED[top] ?? []).includes(targetTop)) return `${top} must not depend on ${targetTop}`;
  if (top === 'base' && unit !== targetUnit && targetUnit !== 'base') return `${unit} must not depend on ${targetUnit}`;
  if (unit === targetUnit) {
    return target === `${unit}/index.ts` && !isTest(path)
      ? 'inside a folder its own index.ts is not imported'
      : undefined;
  }
  if (top === 'base' && targetUnit === 'base') return undefined;
  // Servers and faults that tests stand on are of use to the tests of those above, and packed with none of them.
  if (target.endsWith('.test.support.ts') && (isTest(path) || top === 'bench' || top === 'chaos')) return undefined;
  if (targetUnit === 'engine' && top === 'engine') return 'inside engine/ its own index.ts is not imported';
  return target === `${targetUnit}/index.ts` ? undefined : `use ${targetUnit}/index.ts`;
}

/** Every cycle once, as `a.ts -> b.ts -> a.ts`; type imports count. */
export function importCycles(sources: Sources): string[] {
  const cycles: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
      return;
    }
    state.set(path, 'open');
    trail.push(path);
    for (const { target } of importsOf(path, sources.get(path) as string)) {
      if (target !== undefined && sources.has(target)) visit(target);
    }
    trail.pop();
    state.set(path, 'done');
  };
  for (const path of sources.keys()) visit(path);
  return cycles;
}

/** Clocks, randomness, environment and output that do not come in as arguments. Tests are free to use them. */
export function ambientProblems(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    if (path.startsWith('base/') || isTest(path) || ENTRY_POINTS.some((entry) => entry.test(path))) continue;
    const file = parse(path, text);
    const declared = declaredNames(file);
    const visit = (node: ts.Node): void => {
      const name = ambientName(node);
      if (name !== undefined && !declared.has(name)) {
        const line = file.getLineAndCharacterOfPosition(node.getStart()).line + 1;
        problems.push(`${path}:${line}: uses ${name}; take it as an argument (Clock, Random, Logger, settings)`);
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return problems;
}

function ambientName(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    return AMBIENT_MODULES.has(node.moduleSpecifier.text) ? node.moduleSpecifier.text : undefined;
  }
  if (ts.isImportSpecifier(node)) {
    const imported = (node.propertyName ?? node.name).text;
    return AMBIENT_IMPORTS.has(imported) ? `imported ${imported}` : undefined;
  }
  if (ts.isPropertyAccessExpression(node)) {
    const member = node.getText().replace(/\s/g, '');
    return AMBIENT_MEMBERS.has(member) ? member : undefined;
  }
  const isDate = (e: ts.Expression) => ts.isIdentifier(e) && e.text === 'Date';
  if (ts.isNewExpression(node) && isDate(node.expression) && (node.arguments?.length ?? 0) === 0) return 'new Date()';
  if (ts.isCallExpression(node) && isDate(node.expression)) return 'Date()';
  if (ts.isIdentifier(node) && AMBIENT_GLOBALS.has(node.text) && isReference(node)) return node.text;
  return undefined;
}

/** Whether an identifier stands for a value, rather than naming a member, a type or a declaration. */
function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  if (ts.isTypeNode(parent) || ts.isTypeElement(parent) || ts.isClassElement(parent)) return false;
  return !(ts.isImportSpecifier(parent) || ts.isExportSpecifier(parent) || ts.isQualifiedName(parent));
}

/** Names a file declares itself: those are not the ambient ones. */
function declaredNames(file: ts.SourceFile): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    const declares =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isBindingElement(node);
    if (declares && node.name !== undefined && ts.isIdentifier(node.name)) names.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return names;
}

/** Length and names of files. */
export function fileProblems(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    const lines = text.trimEnd().split('\n').length;
    if (lines > LINES_MAX) problems.push(`${path}: ${lines} lines; split it (at most ${LINES_MAX})`);
    const name = posix.basename(path);
    if (VAGUE_NAMES.includes(name)) problems.push(`${path}: name it after its one concept`);
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.test(\.support)?)?\.ts$/.test(name))
      problems.push(`${path}: file names are kebab-case`);
  }
  return problems;
}

/** Tests that are switched off, or that switch off others. */
export function testProblems(sources: Sources): string[] {
  const problems: string[] = [];
  const off = ['skip', 'only', 'todo'];
  for (const [path, text] of sources) {
    if (!isTest(path)) continue;
    const file = parse(path, text);
    const complain = (node: ts.Node, what: string) => {
      problems.push(`${path}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}: ${what}`);
    };
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node)) {
        const callee = node.expression.getText();
        if (/^(it|test|describe|suite|t|context)\.(skip|only|todo)$/.test(callee)) complain(node, callee);
        if (/^(it|test|describe|suite|t\.test)$/.test(callee)) {
          for (const argument of node.arguments.filter(ts.isObjectLiteralExpression)) {
            const option = argument.properties.find((property) => off.includes(property.name?.getText() ?? ''));
            if (option !== undefined) complain(option, `a test with ${option.getText()}`);
          }
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return problems;
}

/** `readmes`: folder -> text of its README.md, or undefined when there is none. */
export function readmeProblems(readmes: ReadonlyMap<string, string | undefined>): string[] {
  const problems: string[] = [];
  for (const [folder, text] of readmes) {
    const lines = text?.trimEnd().split('\n').length;
    if (lines === undefined) problems.push(`${folder}/README.md: missing`);
    else if (lines > README_LINES_MAX)
      problems.push(`${folder}/README.md: ${lines} lines (at most ${README_LINES_MAX})`);
  }
  return problems;
}
