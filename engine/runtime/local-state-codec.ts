import type { KeyGroups } from '../../checkpoint/index.js';
import type { KeyGroupHeat, LocalRestore, ViewDescription } from '../../statestore/index.js';

/*
 * What slots ask a daemon about the state of its host: JSON, a few times in a task's life. An empty answer: there is none, or not the
 * one that is asked for.
 */

/** `segments`: of the checkpoint that is restored, see `HostState.restore`. */
export interface RestoreRequest {
  readonly operator: string;
  readonly range: KeyGroups;
  readonly segments: readonly string[];
}

/** What a task wants to know of its operator: `HostState.describe`. */
export interface DescribeRequest {
  readonly operator: string;
  readonly heat: readonly KeyGroupHeat[];
}

export function encodeDescribe(request: DescribeRequest): Uint8Array {
  return Buffer.from(JSON.stringify(request), 'utf8');
}

export function decodeDescribe(body: Uint8Array): DescribeRequest {
  return JSON.parse(Buffer.from(body).toString('utf8')) as DescribeRequest;
}

/** A part of an object in the checkpoint store. */
export interface ReadRequest {
  readonly object: string;
  readonly range: { readonly offset: number; readonly length: number };
}

export function encodeRead(request: ReadRequest): Uint8Array {
  return Buffer.from(JSON.stringify(request), 'utf8');
}

export function decodeRead(body: Uint8Array): ReadRequest {
  return JSON.parse(Buffer.from(body).toString('utf8')) as ReadRequest;
}

export function encodeRestore(request: RestoreRequest): Uint8Array {
  return Buffer.from(JSON.stringify(request), 'utf8');
}

export function decodeRestore(body: Uint8Array): RestoreRequest {
  return JSON.parse(Buffer.from(body).toString('utf8')) as RestoreRequest;
}

export function encodeRestored(restore: LocalRestore | undefined): Uint8Array {
  if (restore === undefined) return new Uint8Array(0);
  const states = restore.states.map(({ name, meta, value }) => ({
    name,
    meta: Buffer.from(meta).toString('base64'),
    value: value === undefined ? null : Buffer.from(value).toString('base64'),
  }));
  return Buffer.from(JSON.stringify({ ...restore, states }), 'utf8');
}

export function decodeRestored(body: Uint8Array): LocalRestore | undefined {
  if (body.length === 0) return undefined;
  const { description, states, parts } = JSON.parse(Buffer.from(body).toString('utf8')) as Omit<
    LocalRestore,
    'states'
  > & {
    readonly states: readonly { readonly name: string; readonly meta: string; readonly value: string | null }[];
  };
  return {
    description,
    parts,
    states: states.map(({ name, meta, value }) => ({
      name,
      meta: new Uint8Array(Buffer.from(meta, 'base64')),
      value: value === null ? undefined : new Uint8Array(Buffer.from(value, 'base64')),
    })),
  };
}

export function encodeDescription(description: ViewDescription | undefined): Uint8Array {
  return Buffer.from(description === undefined ? '' : JSON.stringify(description), 'utf8');
}

export function decodeDescription(body: Uint8Array): ViewDescription | undefined {
  return body.length === 0 ? undefined : (JSON.parse(Buffer.from(body).toString('utf8')) as ViewDescription);
}
