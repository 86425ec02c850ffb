import { Builder, ByteBuffer } from 'flatbuffers';
import { type ErrorKind, MillraceError } from '../errors.js';
import { ownBytes } from './aligned-bytes.js';
import { ContextEntry } from './generated/millrace/rpc/context-entry.js';
import { Envelope } from './generated/millrace/rpc/envelope.js';
import { ErrorInfo } from './generated/millrace/rpc/error-info.js';

/**
 * One RPC message is one frame:
 *
 *     offset 0    u32 little-endian   b, where the body begins: a multiple of 8
 *     offset 4    FlatBuffers         Envelope (envelope.fbs), padded with zeros up to b
 *     offset b    raw bytes           the body, up to the end of the frame
 *
 * Frames arrive 8-aligned, so the body does too and is handed on as a view.
 */
export interface Message {
  readonly kind: number;
  readonly id: number;
  readonly service: string;
  readonly body: Uint8Array;
  readonly error: MillraceError | undefined;
}

export const REQUEST = 1;
export const RESPONSE = 2;
export const FAILURE = 3;
export const NOTICE = 4;

const TEXT = 0;
const NUMBER = 1;
const BOOLEAN = 2;
const KINDS: readonly string[] = ['invalid', 'unavailable', 'fenced', 'closed', 'corrupt', 'internal'];
const NO_BYTES = new Uint8Array(0);

const builder = new Builder(512);

/** A request, response or notice, ready to be sent. Copies the body once, behind its header. */
export function encodeMessage(kind: number, id: number, service: string, body: Uint8Array): Uint8Array {
  builder.clear();
  const serviceAt = service === '' ? 0 : builder.createString(service);
  Envelope.startEnvelope(builder);
  Envelope.addKind(builder, kind);
  Envelope.addId(builder, id);
  if (serviceAt !== 0) Envelope.addService(builder, serviceAt);
  builder.finish(Envelope.endEnvelope(builder));
  return frameOf(builder.asUint8Array(), body);
}

/** The answer to a request whose handler threw. */
export function encodeFailure(id: number, error: MillraceError): Uint8Array {
  builder.clear();
  const entries = Object.entries(error.context).map(([key, value]) => {
    const keyAt = builder.createString(key);
    const type = typeof value === 'string' ? TEXT : typeof value === 'number' ? NUMBER : BOOLEAN;
    const textAt = builder.createString(type === TEXT ? String(value) : '');
    return ContextEntry.createContextEntry(builder, keyAt, type, textAt, type === TEXT ? 0 : Number(value));
  });
  const contextAt = ErrorInfo.createContextVector(builder, entries);
  const kindAt = builder.createString(error.kind);
  const codeAt = builder.createString(error.code);
  const messageAt = builder.createString(error.message);
  const stackAt = builder.createString(error.stack ?? '');
  const errorAt = ErrorInfo.createErrorInfo(builder, kindAt, codeAt, messageAt, stackAt, contextAt);
  Envelope.startEnvelope(builder);
  Envelope.addKind(builder, FAILURE);
  Envelope.addId(builder, id);
  Envelope.addError(builder, errorAt);
  builder.finish(Envelope.endEnvelope(builder));
  return frameOf(builder.asUint8Array(), NO_BYTES);
}

/** @throws MillraceError `BAD_ENVELOPE` (corrupt). */
export function decodeMessage(frame: Uint8Array): Message {
  try {
    const bodyAt = new DataView(frame.buffer, frame.byteOffset, frame.length).getUint32(0, true);
    if (bodyAt < 8 || bodyAt > frame.length || bodyAt % 8 !== 0) throw new RangeError(`body at byte ${bodyAt}`);
    const envelope = Envelope.getRootAsEnvelope(new ByteBuffer(frame.subarray(4, bodyAt)));
    const kind = envelope.kind();
    if (kind < REQUEST || kind > NOTICE) throw new RangeError(`kind ${kind}`);
    const info = kind === FAILURE ? envelope.error() : null;
    if (kind === FAILURE && info === null) throw new RangeError('a failure without its error');
    return {
      kind,
      id: envelope.id(),
      service: envelope.service() ?? '',
      body: frame.subarray(bodyAt),
      error: info === null ? undefined : decodeError(info),
    };
  } catch (error) {
    const detail = (error as Error).message;
    throw new MillraceError('corrupt', 'BAD_ENVELOPE', `not an RPC message (${frame.length} bytes): ${detail}`, {
      cause: error,
    });
  }
}

function frameOf(header: Uint8Array, body: Uint8Array): Uint8Array {
  const bodyAt = (4 + header.length + 7) & ~7;
  const length = bodyAt + body.length;
  const frame = length > 4096 ? ownBytes(length) : new Uint8Array(length);
  frame[0] = bodyAt & 0xff;
  frame[1] = (bodyAt >>> 8) & 0xff;
  frame[2] = (bodyAt >>> 16) & 0xff;
  frame[3] = bodyAt >>> 24;
  frame.set(header, 4);
  frame.fill(0, 4 + header.length, bodyAt);
  frame.set(body, bodyAt);
  return frame;
}

function decodeError(info: ErrorInfo): MillraceError {
  const context: Record<string, string | number | boolean> = {};
  for (let i = 0; i < info.contextLength(); i++) {
    const entry = info.context(i);
    const key = entry?.key();
    if (entry === null || typeof key !== 'string') continue;
    if (entry.type() === TEXT) context[key] = entry.text() ?? '';
    else context[key] = entry.type() === BOOLEAN ? entry.number() !== 0 : entry.number();
  }
  const kind = info.kind() ?? '';
  return MillraceError.fromJSON({
    kind: KINDS.includes(kind) ? (kind as ErrorKind) : 'internal',
    code: info.code() ?? 'UNEXPECTED',
    message: info.message() ?? '',
    context,
    stack: info.stack() ?? '',
  });
}
