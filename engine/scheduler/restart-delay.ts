/** The first restart since a complete checkpoint is immediate; then 50 ms, doubling, 5 s at most. */
export function restartDelayMs(restarts: number): number {
  return restarts <= 1 ? 0 : Math.min(50 * 2 ** (restarts - 2), 5000);
}
