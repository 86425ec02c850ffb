/**
 * The hash by which overlay indexes find entries: of the state's name, key and sub key. Stands in files: never change it,
 * only its version (`overlay-index-format.ts`).
 */
export function hashEntry(stateHash: number, key: Uint8Array, sub: Uint8Array): number {
  return mixed(mixBytes(mixBytes(stateHash, key, 0, key.length), sub, 0, sub.length));
}

/** As `hashEntry` of a key and sub key that stand end to end. */
export function hashJoinedEntry(stateHash: number, bytes: Uint8Array, start: number, end: number): number {
  return mixed(mixBytes(stateHash, bytes, start, end));
}

export function hashState(name: string): number {
  const bytes = Buffer.from(name, 'utf8');
  return mixed(mixBytes(0x811c9dc5, bytes, 0, bytes.length));
}

/** FNV-1a. */
export function mixBytes(seed: number, bytes: Uint8Array, start: number, end: number): number {
  let hash = seed;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return hash;
}

/** Murmur3's: FNV alone leaves the high bits of short keys alike. */
export function mixed(hash: number): number {
  let bits = hash ^ (hash >>> 16);
  bits = Math.imul(bits, 0x85ebca6b);
  bits ^= bits >>> 13;
  bits = Math.imul(bits, 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
