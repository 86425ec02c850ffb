import { MillraceError } from '../../base/index.js';

/** Payload of in-band events: 8 bytes, one little-endian number. Barrier: checkpoint id (u64); watermark: ms (float64); END and IDLE: empty. */
export function barrierPayload(checkpoint: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(checkpoint), true);
  return bytes;
}

export function watermarkPayload(timeMs: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, timeMs, true);
  return bytes;
}

export function readBarrier(bytes: Uint8Array): number {
  return Number(view(bytes).getBigUint64(0, true));
}

export function readWatermark(bytes: Uint8Array): number {
  return view(bytes).getFloat64(0, true);
}

function view(bytes: Uint8Array): DataView {
  if (bytes.length !== 8)
    throw new MillraceError('corrupt', 'EVENT_CORRUPT', `an event has ${bytes.length} bytes instead of 8`);
  return new DataView(bytes.buffer, bytes.byteOffset, 8);
}
