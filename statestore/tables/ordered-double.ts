/** Eight bytes whose order as bytes is the order of the numbers (IEEE 754: flip the sign, or everything below zero). */
const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

/** Big-endian halves for `SegmentWriter.u32be`. @returns the high one; `lowHalf` has the other. */
export function highHalf(value: number): number {
  double[0] = value;
  const high = words[1] as number;
  return (high >>> 31 === 0 ? high ^ 0x80000000 : ~high) >>> 0;
}

export function lowHalf(value: number): number {
  double[0] = value;
  const low = words[0] as number;
  return ((words[1] as number) >>> 31 === 0 ? low : ~low) >>> 0;
}

export function readOrderedDouble(bytes: Uint8Array, at: number): number {
  const high = readU32(bytes, at);
  const low = readU32(bytes, at + 4);
  const positive = high >>> 31 === 1;
  words[1] = positive ? high ^ 0x80000000 : ~high;
  words[0] = positive ? low : ~low;
  return double[0] as number;
}

function readU32(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}
