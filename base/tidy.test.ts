import { deepEqual, ok } from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { findSourceRoot, readSources } from './source-tree.js';
import {
  ambientProblems,
  fileProblems,
  importCycles,
  importProblems,
  readmeProblems,
  TOP_FOLDERS,
  testProblems,
} from './tidy-rules.js';

/** Complaints about planted sources, each `path: text`. */
function planted(rule: (sources: Map<string, string>) => string[], files: Record<string, string>): string[] {
  return rule(new Map(Object.entries(files)));
}

describe('the rules themselves', () => {
  it('see an import that goes up, sideways, or past a door', () => {
    const bad: [path: string, specifier: string][] = [
      ['base/a.ts', '../shuffle/index.js'],
      ['base/a.ts', './rpc/index.js'],
      ['base/a.ts', './index.js'],
      ['base/columnar/a.ts', '../rpc/index.js'],
      ['checkpoint/a.ts', '../statestore/index.js'],
      ['shuffle/a.ts', '../checkpoint/index.js'],
      ['shuffle/a.ts', '../base/errors.js'],
      ['shuffle/a.ts', '../base/columnar/schema.js'],
      ['shuffle/a.ts', './index.js'],
      ['engine/runtime/a.ts', '../graph/job-graph.js'],
      ['engine/runtime/a.ts', '../index.js'],
      ['engine/runtime/a.ts', './index.js'],
      ['engine/runtime/a.ts', '../../chaos/index.js'],
      ['chaos/a.ts', '../bench/index.js'],
      ['engine/cli/a.ts', '../../checkpoint/s3-front.test.support.js'],
      ['checkpoint/a.test.ts', '../statestore/a.test.support.js'],
    ];
    for (const [path, specifier] of bad) {
      const forms = [
        `import { x } from '${specifier}';`,
        `import type { x } from '${specifier}';`,
        `export * from '${specifier}';`,
        `import '${specifier}';`,
        `await import('${specifier}');`,
      ];
      for (const text of forms) deepEqual(planted(importProblems, { [path]: text }).length, 1, `${path}: ${text}`);
    }
  });

  it('let pass what is allowed', () => {
    const good = {
      'shuffle/a.ts': "import '../base/index.js'; import '../base/rpc/index.js'; import './mapped/b.js'; import 'ws';",
      'base/rpc/a.ts': "import '../errors.js'; import './b.js';",
      'engine/index.ts': "export * from './graph/index.js';",
      'engine/cli/a.test.ts': "import '../../checkpoint/s3-front.test.support.js';",
      'bench/a.ts': "import '../checkpoint/s3-front.test.support.js';",
      'engine/runtime/a.ts': "import '../graph/index.js'; import '../../statestore/index.js';",
      'chaos/a.ts': "import '../engine/scheduler/index.js'; // import '../engine/scheduler/x.js'",
    };
    deepEqual(planted(importProblems, good), []);
    deepEqual(planted(importCycles, good), []);
  });

  it('see a cycle, type imports included', () => {
    const files = {
      'base/a.ts': "import './b.js';",
      'base/b.ts': "import type { C } from './c.js';",
      'base/c.ts': "import './a.js';",
      'base/d.ts': "import './a.js';",
    };
    deepEqual(planted(importCycles, files), ['base/a.ts -> base/b.ts -> base/c.ts -> base/a.ts']);
  });

  it('see ambient clocks, randomness, environment and output', () => {
    const bad = [
      'Date.now();',
      'new Date();',
      'Date();',
      'const f = Date . now;',
      'Math.random();',
      'setTimeout(f, 1);',
      'const later = setImmediate;',
      'process.env.X;',
      'console.log(1);',
      'performance.now();',
      'globalThis.setTimeout(f);',
      "import { setTimeout as delay } from 'node:timers/promises';",
      "import { randomUUID } from 'node:crypto';",
      'f({ timer: setInterval });',
    ];
    for (const text of bad) {
      deepEqual(planted(ambientProblems, { 'shuffle/a.ts': text }).length, 1, text);
      const free = [
        'base/a.ts',
        'shuffle/a.test.ts',
        'engine/cli/a.ts',
        'engine/runtime/worker-main.ts',
        'bench/x/a.ts',
      ];
      for (const path of free) deepEqual(planted(ambientProblems, { [path]: text }), [], path);
    }
    const good = [
      'new Date(ms).toISOString();',
      'Date.UTC(2001, 0);',
      'clock.setTimeout(f);',
      'class A { process(): void {} }',
      'interface A { console: string; setTimeout(): void }',
      'function f(process: Step) { process.run(); }',
      "// Date.now()\nconst s = 'process.env';",
    ];
    for (const text of good) deepEqual(planted(ambientProblems, { 'engine/api/a.ts': text }), [], text);
  });

  it('see long files and vague names', () => {
    deepEqual(planted(fileProblems, { 'base/a.ts': 'x\n'.repeat(500) }), []);
    deepEqual(planted(fileProblems, { 'base/a.ts': 'x\n'.repeat(501) }).length, 1);
    for (const name of ['types.ts', 'utils.ts', 'helpers.ts', 'inputGate.ts', 'Gate.ts']) {
      deepEqual(planted(fileProblems, { [`engine/api/${name}`]: '' }).length, 1, name);
    }
    deepEqual(planted(fileProblems, { 'engine/api/input-gate.test.ts': '', 'base/rows.test.support.ts': '' }), []);
  });

  it('see tests that are switched off', () => {
    const skip = 'skip';
    const bad = [
      `it.${skip}('a', f);`,
      "it.only('a', f);",
      "it('a', { todo: true }, f);",
      `test('a', { ${skip} }, f);`,
      `t.${skip}();`,
    ];
    for (const text of bad) deepEqual(planted(testProblems, { 'base/a.test.ts': text }).length, 1, text);
    deepEqual(planted(testProblems, { 'base/a.test.ts': "it('only', { timeout: 5 }, f); reader.skip(3);" }), []);
  });

  it('see a missing or long README', () => {
    const readmes = new Map([
      ['base', 'x\n'.repeat(120)],
      ['shuffle', undefined],
      ['engine', 'x\n'.repeat(121)],
    ]);
    deepEqual(readmeProblems(readmes).length, 2);
  });
});

const root = findSourceRoot(import.meta.url);

if (root !== undefined) {
  const sources = readSources(root, TOP_FOLDERS);
  const none = (problems: string[]) => ok(problems.length === 0, `\n${problems.join('\n')}`);

  describe('this project', () => {
    it('was found', () => ok(sources.has('base/tidy-rules.ts')));
    it('imports downwards and through doors', () => none(importProblems(sources)));
    it('has no import cycles', () => none(importCycles(sources)));
    it('takes clocks, randomness, environment and output as arguments', () => none(ambientProblems(sources)));
    it('has files of a readable size, named after their concept', () => none(fileProblems(sources)));
    it('runs all its tests', () => none(testProblems(sources)));
    it('explains every folder in a README', () => {
      const textOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined);
      none(readmeProblems(new Map(TOP_FOLDERS.map((folder) => [folder, textOf(join(root, folder, 'README.md'))]))));
    });
  });
}
