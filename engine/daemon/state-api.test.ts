import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { silentLogger, systemClock } from '../../base/index.js';
import { bearerToken, openFrontDoor } from '../../base/rpc/index.js';
import { MemoryBlobStore } from '../../checkpoint/index.js';
import { StateClient, StateQueries, valueState } from '../../statestore/index.js';
import { CheckpointedStates, KEY_GROUPS } from '../../statestore/states/checkpointed-states.test.support.js';
import { serveState } from './state-api.js';

const clock = systemClock();
const TOKEN = 'cd'.repeat(32);
const authorization = `Bearer ${TOKEN}`;

interface Served {
  readonly address: string;
  readonly client: StateClient;
  /** Without a checkpoint so far. */
  readonly job: CheckpointedStates;
  get(path: string, headers?: Record<string, string>): Promise<{ readonly status: number; readonly body: unknown }>;
}

async function withState(implementation: 'uws' | 'node', run: (served: Served) => Promise<void>): Promise<void> {
  const blobs = new MemoryBlobStore();
  const job = await CheckpointedStates.open(blobs, 2, ['utf8', 'float64']);
  const authorize = bearerToken(TOKEN);
  const door = await openFrontDoor({ port: 0, clock, logger: silentLogger(), authorize, implementation });
  serveState(door, new StateQueries({ store: blobs, keyGroups: KEY_GROUPS, now: () => job.time }));
  const get = async (path: string, headers: Record<string, string> = { authorization }) => {
    const answer = await fetch(`${door.address}${path}`, { headers });
    match(answer.headers.get('content-type') ?? '', /^application\/json/);
    return { status: answer.status, body: await answer.json() };
  };
  try {
    await run({ address: door.address, client: new StateClient({ address: door.address, token: TOKEN }), job, get });
  } finally {
    await door.close();
  }
}

/** Five keys of a value state `seen`, in one checkpoint. */
async function fill(job: CheckpointedStates): Promise<void> {
  const states = job.tasks.map(({ keyed }) => keyed.open({ seen: valueState('int32') }));
  const keys = [
    ['a', 1],
    ['a', 2.5],
    ['b/c?&=', 0],
    ['d', Number.NEGATIVE_INFINITY],
    ['e', -1],
  ] as const;
  keys.forEach((key, i) => {
    states[job.at(...key)]?.seen.set(i);
  });
  await job.complete();
}

/** Both, where uWebSockets.js loads. */
const probe = await openFrontDoor({ port: 0, clock, logger: silentLogger() });
const implementations = probe.implementation === 'uws' ? (['uws', 'node'] as const) : (['node'] as const);
await probe.close();

for (const implementation of implementations) {
  describe(`GET /state, served by ${implementation}`, () => {
    it('answers by key and by range, always with the checkpoint', () =>
      withState(implementation, async ({ job, get }) => {
        await fill(job);
        const listed = {
          name: 'n3/seen',
          kind: 'value',
          key: ['utf8', 'float64'],
          tasks: ['v1.0', 'v1.1'],
          entries: 5,
        };
        deepEqual(await get('/state'), { status: 200, body: { checkpoint: 1, states: [listed] } });
        const ok = (entries: unknown, more = {}) => ({
          status: 200,
          body: { checkpoint: 1, state: 'n3/seen', kind: 'value', entries, ...more },
        });
        const key = encodeURIComponent('["b/c?&=",0]');
        const entry = { key: ['b/c?&=', 0], value: 2 };
        for (const name of ['seen', 'n3%2Fseen', 'n3/seen']) {
          deepEqual(await get(`/state/${name}?key=${key}`), ok([entry]));
        }
        deepEqual(await get(`/state/seen?key=${encodeURIComponent('["nobody",0]')}`), ok([]));
        const from = encodeURIComponent('["a",2]');
        const next = { next: ['d', '-Infinity'] };
        deepEqual(await get(`/state/seen?from=${from}&limit=2`), ok([{ key: ['a', 2.5], value: 1 }, entry], next));
        deepEqual(await get(`/state/seen?from=${from}&to=b`), ok([{ key: ['a', 2.5], value: 1 }]));
      }));

    it('the client says the same, goes through a range in parts, and sees the next checkpoint when it is complete', () =>
      withState(implementation, async ({ job, client }) => {
        await rejects(client.states(), { code: 'NO_CHECKPOINT', kind: 'unavailable' });
        await fill(job);
        const { entries, ...rest } = await client.query({ state: 'seen', key: ['d', Number.NEGATIVE_INFINITY] });
        deepEqual(rest, { checkpoint: 1, state: 'n3/seen', kind: 'value' });
        deepEqual(entries, [{ key: ['d', '-Infinity'], value: 3 }]);
        const values: unknown[] = [];
        for await (const { value } of client.entries({ state: 'seen', from: ['a', 2], limit: 1 })) values.push(value);
        deepEqual(values, [1, 2, 3, 4]);
        const states = job.tasks.map(({ keyed }) => keyed.open({ other: valueState('int32') }));
        states[job.at('a', 1)]?.other.set(7);
        equal((await client.states()).states.length, 1, 'not complete yet');
        await job.complete();
        deepEqual((await client.query({ state: 'other' })).entries, [{ key: ['a', 1], value: 7 }]);
        equal((await client.query({ state: 'seen', limit: 1 })).checkpoint, 2);
      }));

    it('what is wrong is one object with a code, and never an answer to something else', () =>
      withState(implementation, async ({ job, get, client, address }) => {
        deepEqual((await get('/state', {})).status, 401, 'the job’s data needs the token');
        for (const headers of [{}, { authorization: 'Bearer x' }])
          equal((await get('/state/seen', headers)).status, 401);
        const empty = await get('/state/seen?key=a');
        deepEqual([empty.status, (empty.body as { code: string }).code], [503, 'NO_CHECKPOINT']);
        await fill(job);
        for (const [path, expected, code, message] of [
          ['/state/sene', 404, 'STATE_UNKNOWN', /there is none; there are: n3\/seen/],
          ['/state/seen?key=a', 400, 'QUERY_KEY', /a key of 1 values was given: the key is \(utf8, float64\)/],
          ['/state/seen?key=%5B%22a%22', 400, 'QUERY_KEY', /is not JSON/],
          ['/state/seen?limit=0', 400, 'QUERY_LIMIT', /1 to 10000/],
          ['/state/seen?limit=ten', 400, 'QUERY_PARAMETER', /limit: it is a whole number, not "ten"/],
          ['/state/seen?form=a', 400, 'QUERY_PARAMETER', /"form" is no parameter here; there are key, from, to, limit/],
          ['/state?limit=1', 400, 'QUERY_PARAMETER', /"limit" is no parameter here; there is none/],
          ['/state/seen?from=a&from=b', 400, 'QUERY_PARAMETER', /from: it is given more than once/],
          ['/state/seen?key=a&limit=1', 400, 'QUERY_PARAMETER', /key: it is asked for alone/],
          ['/state/a/b/c', 404, 'NO_SUCH_ROUTE', /nothing at/],
        ] as const) {
          const { status, body } = await get(path);
          const error = body as { readonly code: string; readonly message: string };
          deepEqual(
            [status, error.code, Object.keys(error).sort()],
            [expected, code, ['code', 'context', 'message']],
            path,
          );
          match(error.message, message);
        }
        await rejects(client.query({ state: 'sene' }), { code: 'STATE_UNKNOWN', kind: 'invalid' });
        const stranger = new StateClient({ address, token: 'x' });
        await rejects(stranger.states(), { code: 'UNAUTHORIZED', kind: 'invalid' });
        const nobody = new StateClient({ address: 'http://127.0.0.1:1', token: TOKEN });
        await rejects(nobody.states(), {
          code: 'DAEMON_UNREACHABLE',
          kind: 'unavailable',
          message: /no daemon answers/,
        });
        const elsewhere = new StateClient({ address: `${address}/elsewhere`, token: TOKEN });
        await rejects(elsewhere.states(), { code: 'NO_DAEMON', message: /does not serve state/ });
        const stop = new AbortController();
        stop.abort();
        const stopped = new StateClient({ address, token: TOKEN, signal: stop.signal });
        await rejects(stopped.states(), { code: 'STOPPED' });
      }));
  });
}
