import { MillraceError } from '../../base/index.js';

const part = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/;

/** @throws MillraceError `BLOB_NAME` (invalid) unless this is a name that every BlobStore can hold. */
export function validateBlobName(name: string): void {
  if (name.length <= 900 && name.split('/').every((p) => part.test(p))) return;
  throw new MillraceError(
    'invalid',
    'BLOB_NAME',
    `not a blob name: ${JSON.stringify(name)}; parts of [A-Za-z0-9._-] separated by '/', none beginning with a dot`,
  );
}

/** What an object's name says: the collector decides by it alone, without a clock. */
export interface ObjectName {
  readonly epoch: number;
  readonly checkpointId: number;
}

/** `segments/<epoch>-<checkpointId>-<host>-<nonce>`: all deltas of one checkpoint on one host. */
export function segmentObjectName(epoch: number, checkpointId: number, host: string, nonce: string): string {
  return `segments/${epoch}-${checkpointId}-${host}-${nonce}`;
}

/** `manifests/<epoch>-<checkpointId>-<nonce>`: `checkpointId` is the one whose publication moves the manifest out of HEAD. */
export function manifestObjectName(epoch: number, checkpointId: number, nonce: string): string {
  return `manifests/${epoch}-${checkpointId}-${nonce}`;
}

/** Undefined for a name this store did not give: such an object is left alone. */
export function parseObjectName(name: string): ObjectName | undefined {
  const match = /^(?:segments\/(\d+)-(\d+)-.+-[^-]+|manifests\/(\d+)-(\d+)-[^-]+)$/.exec(name);
  if (match === null) return undefined;
  return { epoch: Number(match[1] ?? match[3]), checkpointId: Number(match[2] ?? match[4]) };
}
