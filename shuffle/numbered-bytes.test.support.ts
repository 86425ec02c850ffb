/** The bytes that buffer `seq` of a test has: its length and every byte follow from the number. */
export function numberedBytes(seq: number): Uint8Array {
  const bytes = new Uint8Array(64 + ((seq * 37) % 3000));
  for (let i = 0; i < bytes.length; i++) bytes[i] = (seq * 131 + i * 17) & 0xff;
  return bytes;
}
