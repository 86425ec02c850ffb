/** Typed arrays over SharedArrayBuffers, zeroed, so that another thread can later read a frozen generation in place. */
export function sharedInt32(length: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

export function sharedFloat64(length: number): Float64Array<SharedArrayBuffer> {
  return new Float64Array(new SharedArrayBuffer(length * 8));
}

/** The same content in a larger array; the rest is zero. */
export function grownInt32(array: Int32Array, length: number): Int32Array<SharedArrayBuffer> {
  const grown = sharedInt32(length);
  grown.set(array);
  return grown;
}

export function grownFloat64(array: Float64Array, length: number): Float64Array<SharedArrayBuffer> {
  const grown = sharedFloat64(length);
  grown.set(array);
  return grown;
}
