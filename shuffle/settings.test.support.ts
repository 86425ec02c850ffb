/** Small sizes, so that tests reach every limit. */
export const TEST_SETTINGS = {
  arenaBytes: 8 * 1024 * 1024,
  slotBytes: 64 * 1024,
  ringRecords: 1024,
  frameBytes: 256 * 1024,
  unconsumedBytesMax: 256 * 1024,
  unconsumedBuffersMax: 200,
  spillBytes: 512 * 1024,
};
