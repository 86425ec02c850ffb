import { deepEqual, equal, match } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { heapMemory, silentLogger, systemClock } from '../../base/index.js';
import { bearerToken, type FrontDoor, openFrontDoor } from '../../base/rpc/index.js';
import { type LocalShuffle, openLocalShuffle, type PartitionDescriptor } from '../../shuffle/index.js';
import { serveControl } from './control-api.js';

const clock = systemClock();
const TOKEN = 'ab'.repeat(32);
const NOTHING = new Uint8Array(0);

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function withControl(
  implementation: 'uws' | 'node',
  run: (ask: (method: string, path: string, token?: string) => Promise<Answer>, shuffle: LocalShuffle) => Promise<void>,
): Promise<void> {
  const settings = { arenaBytes: 8 * 1024 * 1024, slotBytes: 64 * 1024 };
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock, settings });
  const authorize = bearerToken(TOKEN);
  const door: FrontDoor = await openFrontDoor({ port: 0, clock, logger: silentLogger(), authorize, implementation });
  serveControl(door, { master: shuffle.master, info: () => ({ version: '1.2.3' }) });
  const ask = async (method: string, path: string, token?: string) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const answer = await fetch(`${door.address}${path}`, { method, headers });
    match(answer.headers.get('content-type') ?? '', /^application\/json/);
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
  try {
    await run(ask, shuffle);
  } finally {
    await door.close();
    await shuffle.close();
  }
}

/** Both, where uWebSockets.js loads. */
const door = await openFrontDoor({ port: 0, clock, logger: silentLogger() });
const implementations = door.implementation === 'uws' ? (['uws', 'node'] as const) : (['node'] as const);
await door.close();

function partition(name: string): PartitionDescriptor {
  return { partition: name, type: 'pipelined', subpartitions: 2, broadcast: false, consumers: 1 };
}

for (const implementation of implementations) {
  describe(`the control routes, served by ${implementation}`, () => {
    it('list what there is, with epochs, sequence numbers and bytes', () =>
      withControl(implementation, async (ask, { master, environment }) => {
        deepEqual(await ask('GET', '/info'), { status: 200, body: { version: '1.2.3' } });
        deepEqual(await ask('GET', '/shuffle/writers'), { status: 200, body: { writers: [] } });
        const task = { writer: 'w/1', epoch: 3, job: 'j', partitions: [partition('p')] };
        await master.register(task);
        await master.register({ writer: 'other', epoch: 1, partitions: [partition('q')] });
        const writer = await environment.openWriter(task);
        writer.partitions[0]?.emit(1, Buffer.from('seven b'), 1);
        writer.publish(NOTHING);
        const expected = {
          writer: 'w/1',
          epoch: 3,
          sealed: false,
          tail: 1,
          job: 'j',
          retainedBytes: 7,
          partitions: [
            {
              partition: 'p',
              type: 'pipelined',
              finished: false,
              firstSeqs: [0, 0],
              nextSeqs: [0, 1],
              retainedBytes: 7,
            },
          ],
        };
        deepEqual(await ask('GET', '/shuffle/writers?job=j'), { status: 200, body: { writers: [expected] } });
        deepEqual(await ask('GET', '/shuffle/writers/w%2F1'), { status: 200, body: expected });
        equal(((await ask('GET', '/shuffle/writers')).body['writers'] as unknown[]).length, 2);
      }));

    it('seal and release with the token, and only with it', () =>
      withControl(implementation, async (ask, { master, environment }) => {
        const task = { writer: 'w/1', epoch: 3, partitions: [partition('p')] };
        await master.register(task);
        const writer = await environment.openWriter(task);
        writer.publish(Buffer.from('a determinant'));
        for (const token of [undefined, 'ab'.repeat(31), 'AB'.repeat(32)]) {
          for (const [method, path] of [
            ['DELETE', '/shuffle/writers/w%2F1'],
            ['POST', '/shuffle/writers/w%2F1/release'],
            ['POST', '/shuffle/writers/w%2F1/seal'],
            ['DELETE', '/shuffle/jobs/j'],
          ] as const) {
            const { status, body } = await ask(method, path, token);
            deepEqual([status, body['code']], [401, 'UNAUTHORIZED'], `${method} ${path}`);
          }
        }
        equal((await master.list())[0]?.sealed, false);
        const sealed = { writer: 'w/1', epoch: 4, tail: 1 };
        deepEqual(await ask('POST', '/shuffle/writers/w%2F1/seal', TOKEN), { status: 200, body: sealed });
        let code: unknown;
        try {
          writer.publish(Buffer.from('too late'));
        } catch (thrown) {
          code = (thrown as { code?: string }).code;
        }
        equal(code, 'WRITER_FENCED');
        const released = { status: 200, body: { released: ['w/1'] } };
        deepEqual(await ask('DELETE', '/shuffle/writers/w%2F1', TOKEN), released);
        deepEqual(await master.list(), []);
        await master.register({ writer: 'w/1', epoch: 5, partitions: [partition('p')] });
        deepEqual(await ask('POST', '/shuffle/writers/w%2F1/release', TOKEN), released);
        deepEqual(await master.list(), []);
      }));

    it('release a whole job', () =>
      withControl(implementation, async (ask, { master }) => {
        for (const [writer, job] of [
          ['a', 'j'],
          ['b', 'j'],
          ['c', 'k'],
        ] as const) {
          await master.register({ writer, epoch: 1, job, partitions: [partition(writer)] });
        }
        deepEqual((await ask('DELETE', '/shuffle/jobs/j', TOKEN)).body, { released: ['a', 'b'] });
        deepEqual(
          (await master.list()).map(({ writer }) => writer),
          ['c'],
        );
      }));

    it('name what is not there, by code', () =>
      withControl(implementation, async (ask) => {
        for (const [method, path, status, code] of [
          ['GET', '/shuffle/writers/x', 404, 'WRITER_UNKNOWN'],
          ['DELETE', '/shuffle/writers/x', 404, 'WRITER_UNKNOWN'],
          ['POST', '/shuffle/writers/x/seal', 404, 'WRITER_UNKNOWN'],
          ['DELETE', '/shuffle/jobs/x', 404, 'JOB_UNKNOWN'],
          ['GET', '/shuffle', 404, 'NO_SUCH_ROUTE'],
          ['PUT', '/shuffle/writers/x', 405, 'METHOD_NOT_ALLOWED'],
        ] as const) {
          const answer = await ask(method, path, TOKEN);
          deepEqual([answer.status, answer.body['code']], [status, code], `${method} ${path}`);
          deepEqual(Object.keys(answer.body).sort(), ['code', 'context', 'message']);
        }
      }));
  });
}
