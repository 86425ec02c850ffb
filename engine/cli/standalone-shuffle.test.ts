import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connectShuffle, type ShuffleConnection } from '../../shuffle/index.js';
import { pause, ROOT, type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

const START_MS_MAX = 30_000;
const BUFFERS = 1000;

/** The code blocks of the README's ten minutes, as a reader would copy them: what both begin with, producer, consumer. */
function readmeCode(): readonly [string, string, string] {
  const readme = readFileSync(join(ROOT, 'shuffle', 'README.md'), 'utf8');
  const section = readme.split(/^## /m).find((part) => part.startsWith('Ten minutes')) ?? '';
  const blocks = section
    .split(/^(?! {4}|$).*$/m)
    .map((block) => block.replace(/^ {4}/gm, '').trim())
    .filter((block) => block !== '');
  equal(blocks.length, 3, 'the README has three blocks of code');
  return blocks as unknown as readonly [string, string, string];
}

/** 0 to 50,000 bytes that nobody else has. The scripts have this very function. */
function bytesOf(i: number): Buffer {
  const bytes = Buffer.alloc((i * 7919) % 50_000);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Math.imul(i + 1, at + 2654435761) >>> 13;
  return bytes;
}

function replaced(code: string, part: RegExp, by: string): string {
  ok(part.test(code), `the README's code has no '${part}' any more`);
  return code.replace(part, () => by);
}

/** A stranger to the engine: scripts that import nothing but `millrace/shuffle`, beside a daemon of their own. */
describe('the shuffle service used alone', () => {
  const place = new TestPlace();
  const token = place.path('token');
  const said = new Map<string, string>();
  let daemon: SpawnedRun;
  let watching: ShuffleConnection;

  before(async () => {
    mkdirSync(place.path('node_modules'));
    symlinkSync(ROOT, place.path('node_modules/millrace'));
    writeFileSync(token, `${Buffer.alloc(32, 5).toString('hex')}\n`);
    const [begin, produce, consume] = readmeCode();
    writeFileSync(place.path('producer.mjs'), `${begin}\n${produce}\n`);
    writeFileSync(place.path('consumer.mjs'), `${begin}\n${consume}\n`);
    const imported = `${begin}\n${bytesOf.toString()}\n`;
    const binary = replaced(produce, /Buffer\.from\(`click .*?\)/, 'bytesOf(i)');
    writeFileSync(place.path('binary-producer.mjs'), `${imported}${binary}\n`);
    const compared = replaced(
      consume,
      /Buffer\.from\(buffer\.bytes\)\.toString\(\)/,
      'bytesOf(buffer.seq).equals(buffer.bytes)',
    );
    writeFileSync(place.path('binary-consumer.mjs'), `${imported}${compared}\n`);
    daemon = place.start('millrace', ['daemon', '--port', '0', '--shm-dir', place.shm, '--token-file', token]);
    await until(
      () => daemon.stdout.includes('ready') || !daemon.running,
      START_MS_MAX,
      () => daemon.stderr,
    );
    for (const line of daemon.stdout.split('\n')) {
      const [name, value] = line.split(/: (.*)/s, 2);
      if (name !== undefined && value !== undefined) said.set(name, value);
    }
    watching = await connectShuffle({ address: address('listening'), token: readFileSync(token, 'utf8') });
  });

  after(async () => {
    await watching?.close();
    daemon.signal('SIGTERM');
    equal(await daemon.ended, 0, daemon.stderr);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
    place.remove();
  });

  function address(name: string): string {
    return said.get(name) ?? `the daemon did not say '${name}': ${daemon.stdout}`;
  }

  /** Buffers that the daemon was sent so far. */
  async function wireBuffers(): Promise<number> {
    const metrics = await (await fetch(`${address('http')}/metrics`)).text();
    return Number(/^millrace_shuffle_wire_buffers_written_total (\d+)$/m.exec(metrics)?.[1]);
  }

  /** Runs a pair of scripts side by side; what the consumer printed, line by line. */
  async function pair(kind: '' | 'binary-', ...args: readonly string[]): Promise<readonly string[]> {
    const before = await wireBuffers();
    const producer = place.node([`${kind}producer.mjs`, ...args]);
    while ((await watching.master.list()).length === 0 && producer.running) await pause(10);
    const consumer = place.node([`${kind}consumer.mjs`, ...args]);
    equal(await consumer.ended, 0, consumer.stderr);
    equal(await producer.ended, 0, producer.stderr);
    deepEqual(await watching.master.list(), []);
    // Mapped buffers do not come near the daemon; the others all do, and END with them.
    const came = (await wireBuffers()) - before;
    equal(came, args.length > 2 ? 0 : BUFFERS + 1);
    return consumer.stdout.trimEnd().split('\n');
  }

  for (const [name, args] of [
    ['in mapped memory', () => [address('listening'), token, address('buffers')]],
    ['over the Unix socket', () => [address('listening'), token]],
    ['over a WebSocket', () => [address('data'), token]],
  ] as const) {
    it(`passes ${BUFFERS} buffers ${name}, by the code of the README`, async () => {
      deepEqual(
        await pair('', ...args()),
        Array.from({ length: BUFFERS }, (_, i) => `click ${i}`),
      );
    });

    it(`passes ${BUFFERS} buffers of 0 to 50,000 bytes ${name}, all as they were`, async () => {
      deepEqual(await pair('binary-', ...args()), new Array<string>(BUFFERS).fill('true'));
    });
  }

  it('refuses a token that is none, and one of somebody else', async () => {
    await rejectedWith('TOKEN', () => connectShuffle({ address: address('listening'), token: 'secret' }));
    const theirs = Buffer.alloc(32, 6).toString('hex');
    await rejectedWith('AUTH_FAILED', () => connectShuffle({ address: address('data'), token: theirs }));
    const nowhere = `unix:${place.path('nowhere.sock')}`;
    await rejectedWith('CONNECT_FAILED', () => connectShuffle({ address: nowhere, token: theirs }));
    match(daemon.stderr, /has another token/);
  });
});

async function rejectedWith(code: string, work: () => Promise<unknown>): Promise<void> {
  equal(
    await work().then(
      () => 'nothing',
      (thrown) => (thrown as { code?: string }).code,
    ),
    code,
  );
}
