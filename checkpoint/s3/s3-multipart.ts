import { type MillraceError, xxh64 } from '../../base/index.js';
import { contentHash, signedOver } from './s3-body.js';
import type { S3Connection } from './s3-connection.js';
import { s3Failure } from './s3-errors.js';
import type { S3Settings } from './s3-settings.js';

const partsMax = 10_000;

/** An object on its way up in parts, finished by nobody yet. Its parts cost room until then. */
export interface S3Upload {
  readonly key: string;
  readonly uploadId: string;
  /** By the clock of the server; infinite when it does not tell. */
  readonly startedAtMs: number;
}

interface UploadedPart {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
  readonly ChecksumSHA256: string;
}

/** One upload in parts, under a key that must not exist when it is completed. */
export interface MultipartPut {
  readonly s3: S3Connection;
  readonly key: string;
  /** For messages: `put segments/3-9-h-1`. */
  readonly what: string;
  readonly bytes: Uint8Array;
  /** xxh64 of the bytes when the caller gave them. */
  readonly checksum: bigint;
  readonly settings: S3Settings;
  /** What to throw when the key is taken at completion. */
  readonly exists: () => MillraceError;
  /** What to throw when the bytes have changed since the start. */
  readonly changed: () => MillraceError;
}

/**
 * Uploads in parts, a few at a time. Whatever fails, the upload is aborted when this rejects, unless the server cannot even
 * be told: `sweepUploads` finds it later. The outcome of a completion that gets no answer is unknown, as with any put.
 */
export async function putInParts(put: MultipartPut): Promise<void> {
  const { s3, key } = put;
  const uploadId = await s3.call(put.what, async ({ sdk, client, options }) => {
    const input = { Bucket: s3.bucket, Key: key, ChecksumAlgorithm: 'SHA256' } as const;
    const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(input), options);
    if (UploadId === undefined) throw new Error('the server gave no upload id');
    return UploadId;
  });
  try {
    const parts = await uploadParts(put, uploadId).catch((thrown) => {
      throw isChanged(put) ? put.changed() : thrown;
    });
    // The server has checked each part, but a buffer that changed between two of them makes a mixture.
    if (isChanged(put)) throw put.changed();
    await complete(put, uploadId, parts);
  } catch (thrown) {
    await abortUpload(s3, key, uploadId).catch(() => {});
    throw thrown;
  }
}

function isChanged({ bytes, checksum }: MultipartPut): boolean {
  return xxh64(bytes) !== checksum;
}

async function uploadParts(put: MultipartPut, uploadId: string): Promise<UploadedPart[]> {
  const { s3, key, bytes, settings } = put;
  const partBytes = Math.max(settings.partBytes, Math.ceil(bytes.length / partsMax));
  const count = Math.ceil(bytes.length / partBytes);
  const parts: UploadedPart[] = [];
  const failed = new AbortController();
  let next = 1;
  const worker = async (): Promise<void> => {
    while (next <= count) {
      const PartNumber = next++;
      const body = bytes.subarray((PartNumber - 1) * partBytes, PartNumber * partBytes);
      parts.push(await s3.call(`${put.what} part ${PartNumber} of ${count}`, upload(PartNumber, body), failed.signal));
    }
  };
  const upload =
    (PartNumber: number, Body: Uint8Array): Parameters<typeof s3.call<UploadedPart>>[1] =>
    async ({ sdk, client, options }) => {
      const hash = contentHash(Body);
      const input = { Bucket: s3.bucket, Key: key, UploadId: uploadId, PartNumber, Body, ChecksumSHA256: hash.base64 };
      const { ETag } = await client.send(signedOver(new sdk.UploadPartCommand(input), hash), options);
      return { PartNumber, ETag, ChecksumSHA256: hash.base64 };
    };
  let first: unknown;
  const workers = Array.from({ length: Math.min(settings.partsInFlight, count) }, () =>
    worker().catch((thrown) => {
      if (!failed.signal.aborted) first = thrown;
      failed.abort();
    }),
  );
  // All of them, so that no part arrives after the abort.
  await Promise.all(workers);
  if (failed.signal.aborted) throw first;
  return parts.sort((a, b) => a.PartNumber - b.PartNumber);
}

async function complete(put: MultipartPut, uploadId: string, parts: UploadedPart[]): Promise<void> {
  const { s3, key } = put;
  await s3.call(`${put.what}, completion`, async ({ sdk, client, options }) => {
    const input = {
      Bucket: s3.bucket,
      Key: key,
      UploadId: uploadId,
      IfNoneMatch: '*',
      MultipartUpload: { Parts: parts },
    };
    try {
      await client.send(new sdk.CompleteMultipartUploadCommand(input), options);
    } catch (thrown) {
      if (s3Failure(thrown).status === 412) throw put.exists();
      throw thrown;
    }
  });
}

/** One that is gone already is not an error. */
export async function abortUpload(s3: S3Connection, key: string, uploadId: string): Promise<void> {
  await s3.call(`abort the upload of ${key}`, async ({ sdk, client, options }) => {
    const input = { Bucket: s3.bucket, Key: key, UploadId: uploadId };
    try {
      await client.send(new sdk.AbortMultipartUploadCommand(input), options);
    } catch (thrown) {
      if (s3Failure(thrown).name !== 'NoSuchUpload') throw thrown;
    }
  });
}

/** All unfinished uploads of keys with this prefix. */
export async function listUploads(s3: S3Connection, prefix: string): Promise<S3Upload[]> {
  const found: S3Upload[] = [];
  let from: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } | undefined = {};
  while (from !== undefined) {
    const marker: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } = from;
    const page = await s3.call('list uploads', ({ sdk, client, options }) =>
      client.send(new sdk.ListMultipartUploadsCommand({ Bucket: s3.bucket, Prefix: prefix, ...marker }), options),
    );
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      // Some servers do not filter.
      if (Key === undefined || UploadId === undefined || !Key.startsWith(prefix)) continue;
      found.push({ key: Key, uploadId: UploadId, startedAtMs: Initiated?.getTime() ?? Number.POSITIVE_INFINITY });
    }
    const { IsTruncated, NextKeyMarker, NextUploadIdMarker } = page;
    from =
      IsTruncated !== true || NextKeyMarker === undefined
        ? undefined
        : {
            KeyMarker: NextKeyMarker,
            ...(NextUploadIdMarker === undefined ? {} : { UploadIdMarker: NextUploadIdMarker }),
          };
  }
  return found;
}
