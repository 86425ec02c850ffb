import { equal, match } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { bootId } from './boot-id.js';

it('every process of one boot is told the same', () => {
  match(bootId(), /\S/);
  const script = `import('${new URL('./boot-id.js', import.meta.url)}').then((m) => process.stdout.write(m.bootId()))`;
  equal(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }), bootId());
});
