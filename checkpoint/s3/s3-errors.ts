import { type ErrorKind, MillraceError } from '../../base/index.js';
import { reasonOf } from '../blob/blob-errors.js';

/** What an S3 client threw, as data: S3's own code or the system's, never the text of a message. */
export interface S3Failure {
  /** `NoSuchKey`, `SlowDown`, `ECONNRESET`, `CredentialsProviderError`; `Error` when there is nothing better. */
  readonly name: string;
  /** Status of the answer, if one came. */
  readonly status: number | undefined;
  /** Whether the answer named an error of S3; a web server or a proxy names none, nor does any answer to HEAD. */
  readonly named: boolean;
  /** Region of the bucket, where the server tells it. */
  readonly region: string | undefined;
}

interface Thrown {
  readonly name?: unknown;
  readonly code?: unknown;
  readonly Code?: unknown;
  readonly Region?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: unknown };
  readonly $response?: { readonly statusCode?: unknown; readonly headers?: Readonly<Record<string, unknown>> };
}

export function s3Failure(thrown: unknown): S3Failure {
  const e = (typeof thrown === 'object' && thrown !== null ? thrown : {}) as Thrown;
  const status = [e.$metadata?.httpStatusCode, e.$response?.statusCode].find((s) => typeof s === 'number');
  const name = [e.code, e.Code, e.name].find((n) => typeof n === 'string' && n !== '') as string | undefined;
  const region = [e.Region, e.$response?.headers?.['x-amz-bucket-region']].find((r) => typeof r === 'string');
  return {
    name: name ?? 'Error',
    status: status as number | undefined,
    named: typeof e.Code === 'string',
    region: region as string | undefined,
  };
}

/** What the message of an error is made of. */
export interface S3Situation {
  readonly location: string;
  readonly bucket: string;
  /** For messages: the endpoint given, or `Amazon S3 in eu-west-1`. */
  readonly server: string;
  readonly region: string;
  /** The call that failed: `put segments/3-9-h-1`. */
  readonly what: string;
  /** Whether this server has answered before: then it was right, and what looks like a wrong setting is an outage. */
  readonly answered: boolean;
}

interface Verdict {
  readonly kind: ErrorKind;
  readonly code: string;
  /** What to do; ends the message. */
  readonly hint?: string;
}

const permissions =
  'allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads';
const badCredentials = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'InvalidToken',
  'ExpiredToken',
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'XAdminUserNotFound',
]);
const badRegion = new Set(['PermanentRedirect', 'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException']);
const badTls = new Set([
  'EPROTO',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

function verdictOf(failure: S3Failure, at: S3Situation): Verdict {
  const { name, status, named, region } = failure;
  const invalid = (code: string, hint: string): Verdict => ({ kind: 'invalid', code, hint });
  const unavailable = (hint?: string): Verdict => ({
    kind: 'unavailable',
    code: 'STORE_UNAVAILABLE',
    ...(hint === undefined ? {} : { hint }),
  });
  if (name === 'NoSuchBucket') {
    return invalid(
      'S3_BUCKET',
      `${at.server} has no bucket ${at.bucket}: create it, or correct the URL or the endpoint`,
    );
  }
  if (name === 'InvalidBucketName') return invalid('S3_BUCKET', `${at.bucket} is no name of a bucket`);
  if (badCredentials.has(name)) return invalid('S3_CREDENTIALS', `${at.server} refuses these credentials`);
  if (name === 'CredentialsProviderError') {
    // Once they were found; those who give them out are away now.
    if (at.answered) return unavailable('the source of the credentials does not answer');
    return invalid(
      'S3_CREDENTIALS',
      'give credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile',
    );
  }
  if (badRegion.has(name) || status === 301) {
    const hint =
      region === undefined ? `${at.region} is the wrong region` : `the region is ${region}, not ${at.region}`;
    return invalid('S3_REGION', `${hint}: set it`);
  }
  if (name === 'RequestTimeTooSkewed') return unavailable('set the clock of this machine');
  if (name === 'NotImplemented' || status === 501) {
    return invalid('S3_UNSUPPORTED', `${at.server} does not know a request that is needed; use a store that does`);
  }
  if (status === 403) return invalid('S3_ACCESS', `${permissions} on bucket ${at.bucket}`);
  if (badTls.has(name)) {
    return invalid('S3_ENDPOINT', `${at.server} is not to be had over TLS: correct the endpoint or its certificate`);
  }
  if (name === 'ENOTFOUND' && !at.answered) {
    return invalid('S3_ENDPOINT', `there is no host of this name: correct the endpoint, ${at.server}`);
  }
  if (!at.answered && !named && (status === 404 || status === 405)) {
    return invalid('S3_ENDPOINT', `what answers at ${at.server} does not speak S3: correct the endpoint`);
  }
  if (name === 'ECONNREFUSED') return unavailable(`nothing listens at ${at.server}: is it up, is the endpoint right?`);
  if (name === 'SlowDown' || status === 429) return unavailable('the store asks for fewer requests');
  return unavailable();
}

/**
 * The MillraceError for what an S3 client threw. Usual mistakes of configuration are invalid: `S3_BUCKET`, `S3_ACCESS`,
 * `S3_CREDENTIALS`, `S3_REGION`, `S3_ENDPOINT`, `S3_UNSUPPORTED`. All else is `STORE_UNAVAILABLE`.
 */
export function s3Error(thrown: unknown, at: S3Situation): MillraceError {
  if (thrown instanceof MillraceError) return thrown;
  const failure = s3Failure(thrown);
  const { kind, code, hint } = verdictOf(failure, at);
  const message = `${at.location}: ${at.what} failed: ${saidBy(failure, thrown)}`;
  return new MillraceError(kind, code, hint === undefined ? message : `${message}; ${hint}`, {
    cause: thrown,
    context: { s3: failure.name, ...(failure.status === undefined ? {} : { status: failure.status }) },
  });
}

function saidBy({ name, status, named }: S3Failure, thrown: unknown): string {
  // Where an answer names no error, what the SDK puts in its place says nothing.
  if (status !== undefined && !named) return `HTTP ${status}`;
  const reason = reasonOf(thrown).replace(/\s+/g, ' ').trim().slice(0, 300);
  return [status === undefined ? name : `${name} (${status})`, reason].filter((part) => part !== '').join(': ');
}
