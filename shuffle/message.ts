import { Builder, type ByteBuffer } from 'flatbuffers';
import { MillraceError } from '../base/index.js';
import { CheckedByteBuffer } from './checked-byte-buffer.js';
import { malformed } from './shuffle-errors.js';

/** What the object API generates for every table. */
export interface Packable {
  pack(builder: Builder): number;
}

/** A small message (protocol.fbs) as bytes. */
export function encode(message: Packable): Uint8Array {
  const builder = new Builder(256);
  builder.finish(message.pack(builder));
  return builder.asUint8Array();
}

/** For `getRootAs...`, which then throws `SHUFFLE_PROTOCOL` when the bytes are not a whole message. */
export function reader(bytes: Uint8Array): ByteBuffer {
  return new CheckedByteBuffer(bytes);
}

/**
 * The beginning of a message with buffers behind it: [header length u32][header][zeroes to 8][payload]. Payload bytes
 * never go through FlatBuffers.
 */
export function beforePayload(header: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((4 + header.length) / 8) * 8);
  new DataView(bytes.buffer).setUint32(0, header.length, true);
  bytes.set(header, 4);
  return bytes;
}

export function decodeWithPayload(bytes: Uint8Array): { readonly header: ByteBuffer; readonly payload: Uint8Array } {
  if (bytes.length < 4) throw malformed(`a message of ${bytes.length} bytes`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const payloadByte = Math.ceil((4 + length) / 8) * 8;
  if (payloadByte > bytes.length) throw malformed(`a header of ${length} bytes in a message of ${bytes.length}`);
  return { header: new CheckedByteBuffer(bytes.subarray(4, 4 + length)), payload: bytes.subarray(payloadByte) };
}

/** Makes a handler of notices end the connection, which tells its user why, when a notice is not what it should be. */
export function strictly(
  refuse: (error: MillraceError) => void,
  handle: (body: Uint8Array) => void,
): (body: Uint8Array) => undefined {
  return (body) => {
    try {
      handle(body);
    } catch (e) {
      refuse(MillraceError.from(e, 'SHUFFLE_PROTOCOL', 'corrupt'));
    }
    return undefined;
  };
}

/** Names of the services between a shuffle service and its clients. `→` goes to the service, `←` comes from it. */
export const SHUFFLE_SERVICES = {
  /** ← the service understands this client no longer: the JSON of why; it closes the connection. */
  refused: 'shuffle.refused',
  /** → requests of a master's user. */
  register: 'shuffle.register',
  seal: 'shuffle.seal',
  trim: 'shuffle.trim',
  release: 'shuffle.release',
  releaseJob: 'shuffle.releaseJob',
  list: 'shuffle.list',
  /** → asks for events; ← events. */
  events: 'shuffle.events',
  /** → what is mapped and written to. */
  held: 'shuffle.held',
  /** → what a client that maps cannot map: buffers on disk. */
  readSpilled: 'shuffle.readSpilled',
  /** → where this client listens, and no longer; ring goes both ways. */
  listen: 'shuffle.listen',
  deafen: 'shuffle.deafen',
  ring: 'shuffle.ring',
  /** The wire: → open, step, close; ← ack. */
  openWriter: 'shuffle.writer.open',
  step: 'shuffle.writer.step',
  ack: 'shuffle.writer.ack',
  closeWriter: 'shuffle.writer.close',
  /** → open, released, close; ← push. */
  openGate: 'shuffle.gate.open',
  push: 'shuffle.gate.push',
  released: 'shuffle.gate.released',
  closeGate: 'shuffle.gate.close',
} as const;
