import { createHash } from 'node:crypto';

/** What an answer to a GET has in common, as the SDK gives it. */
export interface S3Answer {
  readonly Body?: unknown;
  readonly ContentLength?: number | undefined;
  readonly ContentRange?: string | undefined;
}

const progressBytes = 1024 * 1024;

/**
 * The bytes of an answer, all of them or an error: a body that ends early is never given out short (restate#3380).
 * `range` is what was asked for; `progress` is called with each MiB.
 */
export async function readAnswer(
  answer: S3Answer,
  range: { readonly offset: number; readonly length: number } | undefined,
  progress: () => void,
): Promise<Uint8Array> {
  const { ContentLength: told, ContentRange: header } = answer;
  if (header === undefined) {
    if (told === undefined) throw failed('UnknownLength', 'the answer does not say how long it is');
    const whole = await readBody(answer.Body, told, progress);
    // A server may answer a range with the whole.
    return range === undefined ? whole : whole.slice(range.offset, range.offset + range.length);
  }
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header);
  const [start, last, total] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3])];
  const end = range === undefined ? total : Math.min(range.offset + range.length, total);
  if (match === null || start !== (range?.offset ?? 0) || last + 1 !== end || (told ?? end - start) !== end - start) {
    const asked = range === undefined ? 'the whole' : `${range.length} bytes from ${range.offset}`;
    throw failed('WrongRange', `asked for ${asked}, got ${header} of length ${told}`);
  }
  return readBody(answer.Body, end - start, progress);
}

async function readBody(body: unknown, bytesExpected: number, progress: () => void): Promise<Uint8Array> {
  const bytes = new Uint8Array(bytesExpected);
  let filled = 0;
  let marked = 0;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    if (filled + chunk.length > bytesExpected) {
      throw failed('OverlongBody', `more bytes came than the ${bytesExpected} announced`);
    }
    bytes.set(chunk, filled);
    filled += chunk.length;
    if (filled - marked < progressBytes) continue;
    marked = filled;
    progress();
  }
  if (filled < bytesExpected) throw failed('TruncatedBody', `only ${filled} of ${bytesExpected} bytes came`);
  return bytes;
}

function failed(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** SHA-256 of what is sent: servers refuse what does not match it, as it is part of the signature and a checksum header. */
export interface ContentHash {
  readonly hex: string;
  readonly base64: string;
}

export function contentHash(bytes: Uint8Array): ContentHash {
  const digest = createHash('sha256').update(bytes).digest();
  return { hex: digest.toString('hex'), base64: digest.toString('base64') };
}

type Handler<A, R> = (args: A) => Promise<R>;

/**
 * Has a command signed over this hash, of the bytes as they were when the caller gave them. The SDK would take its own
 * later, when they may have changed (bookkeeper#2563).
 */
export function signedOver<C extends { readonly middlewareStack: { add: (...args: never[]) => void } }>(
  command: C,
  hash: ContentHash,
): C {
  const middleware =
    <A extends { readonly request: unknown }, R>(next: Handler<A, R>): Handler<A, R> =>
    (args) => {
      (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = hash.hex;
      return next(args);
    };
  const add = command.middlewareStack.add as (middleware: unknown, where: unknown) => void;
  add.call(command.middlewareStack, middleware, { step: 'build', name: 'contentSha256' });
  return command;
}
