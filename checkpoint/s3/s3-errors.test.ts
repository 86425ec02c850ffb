import { deepEqual, doesNotMatch, equal, match, rejects, throws } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { type MillraceError, systemClock } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { S3BlobStore } from './s3-blob-store.js';
import { s3Error } from './s3-errors.js';
import { realS3OrStandIn } from './s3-gateway.test.support.js';
import { onS3 } from './s3-ground.test.support.js';
import { testS3Access } from './s3-server.test.support.js';
import { checkedS3Settings } from './s3-settings.js';

const one = Uint8Array.of(1);
const calls: readonly ((store: BlobStore) => Promise<unknown>)[] = [
  (store) => store.put('a', one),
  (store) => store.get('a'),
  (store) => store.stat('a'),
  (store) => store.delete('a'),
  (store) => store.list(''),
  (store) => store.read('a'),
  (store) => store.compareAndSet('a', undefined, one),
];

/** That a call fails with this code, in one line that begins with the location. */
async function refused(call: Promise<unknown>, code: string, says: RegExp): Promise<void> {
  await rejects(call, (thrown: MillraceError) => {
    deepEqual([thrown.kind, thrown.code], ['invalid', code], thrown.message);
    match(thrown.message, says);
    match(thrown.message, /^s3:\/\//);
    doesNotMatch(thrown.message, /\n/);
    return true;
  });
}

describe('mistakes of configuration, each with a code and what to do', () => {
  it('a bucket that does not exist, with every call: a missing object is not a missing bucket', () =>
    onS3(async ({ s3 }) => {
      const store = await S3BlobStore.open({ bucket: 'other', server: s3.server, clock: systemClock() });
      for (const call of calls) await refused(call(store), 'S3_BUCKET', /NoSuchBucket.*has no bucket other: create it/);
      store.close();
    }));

  it('a bucket that one may not use, with every call', () =>
    onS3(async ({ front, open }) => {
      const store = await open();
      front.inject({}, { kind: 'answer', status: 403, code: 'AccessDenied' });
      for (const call of calls) await refused(call(store), 'S3_ACCESS', /allow s3:GetObject.* on bucket test-bucket$/);
    }));

  it('credentials that the server does not accept', async () => {
    const s3 = await realS3OrStandIn();
    try {
      // The small server checks no signatures.
      if (s3.real) {
        const { credentials } = s3.server;
        const known = typeof credentials === 'object' ? credentials.accessKeyId : '';
        for (const accessKeyId of [known, 'nobody']) {
          const server = { ...s3.server, credentials: { accessKeyId, secretAccessKey: 'wrong' } };
          const store = await S3BlobStore.open({ bucket: s3.bucket, server, clock: systemClock() });
          await refused(store.list(''), 'S3_CREDENTIALS', /refuses these credentials/);
          store.close();
        }
        const server = { ...s3.server, region: 'eu-west-1' };
        const store = await S3BlobStore.open({ bucket: s3.bucket, server, clock: systemClock() });
        await refused(store.list(''), 'S3_REGION', /eu-west-1/);
        store.close();
      }
    } finally {
      await s3.close();
    }
    await onS3(async ({ front, open }) => {
      const store = await open();
      for (const code of ['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'ExpiredToken']) {
        front.inject({ times: 1 }, { kind: 'answer', status: code === 'ExpiredToken' ? 400 : 403, code });
        await refused(store.get('a'), 'S3_CREDENTIALS', new RegExp(code));
      }
    });
  });

  it('another region, an endpoint that is no S3 server, a request that is not known', () =>
    onS3(async ({ front, open }) => {
      const store = await open();
      front.inject({ nth: 1 }, { kind: 'answer', status: 301, code: 'PermanentRedirect' });
      await refused(store.get('a'), 'S3_REGION', /us-east-1 is the wrong region: set it/);
      front.inject({ nth: 1 }, { kind: 'answer', status: 501, code: 'NotImplemented' });
      await refused(store.put('a', one), 'S3_UNSUPPORTED', /use a store that does/);
    }));

  it('an endpoint where something else answers, or speaks plain HTTP where TLS is meant', async () => {
    const web = createServer((_, response) =>
      response.writeHead(404, { 'content-type': 'text/html' }).end('<p>no such page'),
    );
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
    const open = (endpoint: string) =>
      S3BlobStore.open({ bucket: 'a-bucket', server: testS3Access(endpoint), clock: systemClock() });
    const [plain, tls] = [await open(url), await open(url.replace('http:', 'https:'))];
    try {
      for (const call of calls) await refused(call(plain), 'S3_ENDPOINT', /does not speak S3: correct the endpoint/);
      await refused(tls.list(''), 'S3_ENDPOINT', /TLS: correct the endpoint/);
    } finally {
      for (const store of [plain, tls]) store.close();
      web.closeAllConnections();
      await new Promise((resolve) => web.close(resolve));
    }
    const nobody = await open(url);
    await rejects(nobody.list(''), {
      kind: 'unavailable',
      code: 'STORE_UNAVAILABLE',
      message: /ECONNREFUSED.*nothing listens at http:\/\/127.0.0.1:\d+: is it up, is the endpoint right\?$/,
    });
    nobody.close();
    for (const wrong of ['localhost:9000', 'ftp://a', '']) {
      await refused(open(wrong), 'S3_ENDPOINT', /must be a URL such as https:/);
    }
  });

  it('no region and no credentials anywhere', () => {
    const code = `
      import { S3BlobStore } from '${new URL('../index.js', import.meta.url)}';
      import { systemClock } from '${new URL('../../base/index.js', import.meta.url)}';
      const codes = [];
      for (const server of [{}, { region: 'us-east-1' }, { endpoint: 'http://127.0.0.1:1' }]) {
        const opened = S3BlobStore.open({ bucket: 'a-bucket', server, clock: systemClock() });
        await opened.then(() => codes.push('opened'), (e) => codes.push(e.kind, e.code, e.message));
      }
      console.log(JSON.stringify(codes));`;
    const { PATH = '' } = process.env;
    const env = { PATH, HOME: `${tmpdir()}/nobody-lives-here`, AWS_EC2_METADATA_DISABLED: 'true' };
    const done = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8', env });
    const [kind, region, regionSays, ...others] = JSON.parse(done.stdout || '[]') as string[];
    deepEqual([kind, region], ['invalid', 'S3_REGION'], done.stderr);
    match(regionSays ?? '', /no region: give it, or set AWS_REGION/);
    deepEqual([others[0], others[1], others[3], others[4]], ['invalid', 'S3_CREDENTIALS', 'invalid', 'S3_CREDENTIALS']);
    match(others[2] ?? '', /give credentials, or set AWS_ACCESS_KEY_ID/);
  });

  it('a host that does not exist is a mistake before it ever answered, and an outage after', () => {
    const thrown = Object.assign(new Error('getaddrinfo ENOTFOUND s3.exmaple.org'), { code: 'ENOTFOUND' });
    const at = { location: 's3://b', bucket: 'b', server: 'https://s3.exmaple.org', region: 'us-east-1', what: 'list' };
    const before = s3Error(thrown, { ...at, answered: false });
    deepEqual([before.kind, before.code], ['invalid', 'S3_ENDPOINT']);
    match(before.message, /no host of this name: correct the endpoint, https:\/\/s3.exmaple.org$/);
    equal(s3Error(thrown, { ...at, answered: true }).code, 'STORE_UNAVAILABLE');
    const gone = Object.assign(new Error('metadata service'), { name: 'CredentialsProviderError' });
    equal(s3Error(gone, { ...at, answered: true }).code, 'STORE_UNAVAILABLE');
  });

  it('settings that make no sense, by name', () => {
    const bad = { kind: 'invalid', code: 'S3_SETTING' };
    throws(() => checkedS3Settings({ partBytes: 0 }), { ...bad, message: /setting partBytes must be a whole number/ });
    throws(() => checkedS3Settings({ requestTimeoutMs: Number.NaN }), { ...bad, message: /requestTimeoutMs/ });
    throws(() => checkedS3Settings({ partBytes: 6 * 2 ** 30 }), { ...bad, message: /partBytes must be at most/ });
    throws(() => checkedS3Settings({ parts: 1 } as never), { ...bad, message: /setting parts is not one; there are/ });
  });
});
