import { createHash } from 'node:crypto';
import { type Clock, type Disk, type Logger, MillraceError, type Random } from '../base/index.js';
import type { BlobStore } from './blob/blob-store.js';
import { EncryptedBlobStore } from './blob/encrypted-blob-store.js';
import { openBlobStore } from './blob/open-blob-store.js';
import { RetryingBlobStore } from './blob/retrying-blob-store.js';
import { TieredBlobStore } from './tier/tiered-blob-store.js';

/** Where a job's checkpoints are; plain data, so that schedulers, daemons and tools open the same store. */
export interface CheckpointLocation {
  /** `s3://bucket/prefix`, or the path of a folder. */
  readonly url: string;
  /** Of a server that is not Amazon's. */
  readonly s3Endpoint?: string | undefined;
  readonly s3Region?: string | undefined;
  /** Everything is encrypted with the first key in it (64 hex digits a line); those after it still open what they sealed. */
  readonly keyFile?: string | undefined;
}

export interface OpenedCheckpoints {
  readonly store: BlobStore;
  close(): Promise<void>;
}

const KEY_BYTES = 32;

/**
 * Opens it: a store in S3 is probed and tries again what got no answer.
 * @throws MillraceError `STORE_URL`, `STORE_CONDITIONS`, `S3_*`, `KEY_FILE` (invalid), `STORE_UNAVAILABLE`.
 */
export async function openCheckpointPlace(
  place: CheckpointLocation,
  parts: {
    readonly disk: Disk;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    /** Stands in for what is in S3, in the simulator. */
    readonly remote?: BlobStore | undefined;
  },
  options: {
    readonly probe?: boolean;
    /** How long a store in S3 may go without an answer before a call fails. */
    readonly retryForMs?: number | undefined;
    /** Keeps copies of what is in S3, and what is on its way there, in this folder. */
    readonly tierFolder?: string | undefined;
  } = {},
): Promise<OpenedCheckpoints> {
  const { disk, clock, random, logger, remote } = parts;
  const { url, s3Endpoint, s3Region, keyFile } = place;
  const keys =
    keyFile === undefined ? undefined : readKeys(keyFile, await disk.read(keyFile).catch(unreadable(keyFile)));
  const s3 = {
    ...(s3Endpoint === undefined ? {} : { endpoint: s3Endpoint }),
    ...(s3Region === undefined ? {} : { region: s3Region }),
  };
  const { probe = true, retryForMs, tierFolder } = options;
  const settings = retryForMs === undefined ? {} : { retryForMs };
  const isRemote = url.startsWith('s3:');
  const opened: BlobStore & { close?(): void } =
    isRemote && remote !== undefined ? remote : await openBlobStore(url, { disk, clock, random, logger, s3, probe });
  const retrying = isRemote ? new RetryingBlobStore({ inner: opened, clock, random, logger, settings }) : undefined;
  const tiered =
    retrying === undefined || tierFolder === undefined
      ? undefined
      : await TieredBlobStore.open({
          disk,
          clock,
          random,
          logger,
          root: tierFolder,
          remote: retrying,
          settings: { authority: 'remote' },
        });
  const plain = tiered ?? retrying ?? opened;
  const store: BlobStore =
    keys === undefined ? plain : new EncryptedBlobStore({ inner: plain, random, clock, ...keys });
  const close = async () => {
    await tiered?.close();
    retrying?.close();
    opened.close?.();
  };
  return { store, close };
}

function readKeys(file: string, bytes: Uint8Array): { keys: ReadonlyMap<string, Uint8Array>; current: string } {
  const lines = Buffer.from(bytes).toString('utf8').split('\n');
  const keys = new Map<string, Uint8Array>();
  for (const line of lines.map((text) => text.trim()).filter((text) => text !== '')) {
    if (!/^[0-9a-fA-F]+$/.test(line) || line.length !== 2 * KEY_BYTES) {
      throw badKeyFile(file, `each line must be ${2 * KEY_BYTES} hex digits, as \`openssl rand -hex 32\` prints them`);
    }
    const key = Buffer.from(line, 'hex');
    keys.set(createHash('sha256').update(key).digest('hex').slice(0, 16), key);
  }
  const [current] = keys.keys();
  if (current === undefined) throw badKeyFile(file, 'it holds no key; make one with `openssl rand -hex 32`');
  return { keys, current };
}

function unreadable(file: string): (thrown: unknown) => never {
  return (thrown) => {
    const { message, cause } = thrown as Error;
    const isFolder = (cause as NodeJS.ErrnoException | undefined)?.code === 'EISDIR';
    throw badKeyFile(file, isFolder ? 'it is a folder' : message.replace(`${file} `, 'it '));
  };
}

function badKeyFile(file: string, why: string): MillraceError {
  return new MillraceError('invalid', 'KEY_FILE', `key file ${file}: ${why}`);
}
