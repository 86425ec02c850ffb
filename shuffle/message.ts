import { Builder, ByteBuffer } from 'flatbuffers';

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

/** For `getRootAs...`. */
export function reader(bytes: Uint8Array): ByteBuffer {
  return new ByteBuffer(bytes);
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
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const payload = bytes.subarray(Math.ceil((4 + length) / 8) * 8);
  return { header: new ByteBuffer(bytes.subarray(4, 4 + length)), payload };
}

/** Names of the services between a shuffle service and its clients. `→` goes to the service, `←` comes from it. */
export const SHUFFLE_SERVICES = {
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
