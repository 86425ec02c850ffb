import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock, systemRandom } from '../../base/index.js';
import { type GoProgram, goProgram } from '../go-program.test.support.js';
import { S3BlobStore } from './s3-blob-store.js';
import type { S3Server } from './s3-connection.js';
import { TestS3Server } from './s3-server.test.support.js';

/** A gateway that stores objects as files, and honours If-Match and If-None-Match, also when an upload is completed. */
const versitygw: GoProgram = { path: 'github.com/versity/versitygw/cmd/versitygw', version: 'v1.8.0' };
const startMsMax = 20_000;

/** A server that a test may use, with one empty bucket. */
export interface S3UnderTest {
  /** Which one, and why: one line for the log. */
  readonly says: string;
  readonly real: boolean;
  readonly url: string;
  readonly bucket: string;
  readonly server: S3Server;
  close(): Promise<void>;
}

/** A real S3 server, where Go and its modules are to be had; else the small one steps in. Always says which. */
export async function realS3OrStandIn(): Promise<S3UnderTest> {
  const built = await goProgram(versitygw, cacheFolder());
  const started = 'why' in built ? built.why : await startGateway(built.file);
  if (typeof started !== 'string') return started;
  return smallS3(`versitygw is not to be had: ${started}`);
}

/** The small server written for the tests, and why it. */
export async function smallS3(why: string): Promise<S3UnderTest> {
  // Small pages, so that lists have several.
  const small = await TestS3Server.listen({ pageKeysMax: 4 });
  return {
    says: `S3 server of these tests: the small one written for them (${why})`,
    real: false,
    url: small.url,
    bucket: 'test-bucket',
    server: small.server,
    close: () => small.close(),
  };
}

function cacheFolder(): string {
  const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
  return join(root, 'node_modules', '.cache', 'millrace');
}

/**
 * Ends the server and removes its files when our side of the pipe closes: also when this process is killed. A Ctrl-C goes to
 * the whole group, and must not take the one that cleans up.
 */
const keeper = `trap '' INT TERM HUP
exec 3<&0
"$@" & pid=$!
{ cat <&3 >/dev/null; kill -9 $pid; } & watch=$!
wait $pid
kill -9 $watch
rm -rf -- "$FOLDER"`;

/** Why not, where it does not come up. */
async function startGateway(file: string): Promise<S3UnderTest | string> {
  let why = '';
  // Not every file system for temporary files has extended attributes, and the port may be taken between our look and its use.
  for (const parent of [tmpdir(), tmpdir(), dirname(file)]) {
    const started = await startGatewayIn(mkdtempSync(join(parent, 'millrace-s3-test-')), file);
    if (typeof started !== 'string') return started;
    why = started;
  }
  return `it does not start: ${why}`;
}

async function startGatewayIn(folder: string, file: string): Promise<S3UnderTest | string> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const [accessKeyId, secretAccessKey] = [systemRandom().nonce(), systemRandom().nonce()];
  const bucket = 'test-bucket';
  // A bucket is a folder. Not with `--sidecar`: then a read may pair the bytes of one version with the ETag of another.
  mkdirSync(join(folder, bucket));
  const args = ['--port', new URL(url).host, '--quiet', '--keep-alive', 'posix', folder];
  const env = { ...process.env, FOLDER: folder, ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey };
  const child = spawn('sh', ['-c', keeper, 'sh', file, ...args], { env, stdio: ['pipe', 'ignore', 'ignore'] });
  const server: S3Server = { endpoint: url, region: 'us-east-1', credentials: { accessKeyId, secretAccessKey } };
  const failed = await untilItAnswers(child, bucket, server);
  if (failed !== undefined) {
    await ended(child);
    return failed;
  }
  const says = `S3 server of these tests: versitygw ${versitygw.version}, built by go install`;
  return { says, real: true, url, bucket, server, close: () => ended(child) };
}

async function untilItAnswers(child: ChildProcess, bucket: string, server: S3Server): Promise<string | undefined> {
  const store = await S3BlobStore.open({ bucket, server, clock: systemClock(), settings: { requestTimeoutMs: 1000 } });
  try {
    for (const endMs = performance.now() + startMsMax; ; ) {
      try {
        await store.list('');
        return undefined;
      } catch (thrown) {
        if (child.exitCode !== null) return `it ended with ${child.exitCode}`;
        if (performance.now() > endMs) return String(thrown);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  } finally {
    store.close();
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.stdin?.end();
  await exited;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
