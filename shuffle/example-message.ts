/**
 * How the two ends of the example plug-in talk: [header length u32][header JSON][payload]. Plain and slow; a real one
 * would not put every number into JSON.
 */
export const EXAMPLE_SERVICES = {
  /** To the service. */
  openWriter: 'example.writer.open',
  step: 'example.writer.step',
  openGate: 'example.gate.open',
  fetch: 'example.gate.fetch',
  consumed: 'example.gate.consumed',
  closeGate: 'example.gate.close',
  /** From it. */
  ack: 'example.writer.ack',
} as const;

/** bigints as decimal strings: see `fromText`. */
export function packMessage(header: object, payload: readonly Uint8Array[] = []): Uint8Array {
  const json = Buffer.from(JSON.stringify(header, (_, value) => (typeof value === 'bigint' ? String(value) : value)));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  return Buffer.concat([length, json, ...payload]);
}

/** The payload is borrowed from `message`. */
export function unpackMessage<T>(message: Uint8Array): { readonly header: T; readonly payload: Uint8Array } {
  const end = 4 + new DataView(message.buffer, message.byteOffset, message.length).getUint32(0, true);
  const header = JSON.parse(Buffer.from(message.subarray(4, end)).toString()) as T;
  return { header, payload: message.subarray(end) };
}

export interface WireBuffer {
  readonly kind: number;
  readonly rows: number;
  readonly length: number;
  /** xxh64, decimal. */
  readonly checksum: string;
}

export interface WirePosition {
  readonly seq: number;
  readonly chain: string;
}

export interface OpenedWriter {
  readonly position: number;
  readonly available: boolean;
  /** Of each subpartition of each partition. */
  readonly positions: readonly (readonly WirePosition[])[];
}

/** Buffers of one step stand in the payload one behind the other; determinants, which nobody reads back here, do not. */
export interface StepMessage {
  readonly handle: number;
  readonly outputs: readonly (WireBuffer & { readonly partition: number; readonly subpartition: number })[];
}

export interface AckMessage {
  readonly handle: number;
  /** Steps of this writer that are stored. */
  readonly position: number;
  readonly available: boolean;
  /** A serialized MillraceError: the writer must stop. */
  readonly error?: string;
}

export interface FetchMessage {
  readonly handle: number;
  readonly channel: number;
  readonly seq: number;
}

export interface FetchedMessage {
  readonly buffers: readonly WireBuffer[];
}
