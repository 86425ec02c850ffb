/**
 * What else decided a step, besides the task's code: logged in its frame, before its outputs can be seen (invariant 1).
 * 16 bytes each, little-endian: u8 kind, u24 zero, u32 channel, u64 number.
 *   1 input      channel = index of the task's channel, number = how many buffers it had delivered before
 *   2 flush      channel = index of the output edge whose unfinished batches were cut by its buffer timeout
 *   3 trigger    a source took barrier `number`
 *   4 batch      a source emitted its batch number `number`
 *   5 fire       timers went on firing for a watermark that an earlier step began
 */
export type DeterminantKind = 1 | 2 | 3 | 4 | 5;
export const INPUT_CONSUMED = 1;
export const FLUSH_BY_TIMEOUT = 2;
export const CHECKPOINT_TRIGGERED = 3;
export const SOURCE_BATCH = 4;
export const TIMERS_CONTINUED = 5;

export function determinant(kind: DeterminantKind, channel: number, number: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, kind, true);
  view.setUint32(4, channel, true);
  view.setBigUint64(8, BigInt(number), true);
  return bytes;
}
