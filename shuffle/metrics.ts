/** Plain counters of one environment; hot paths only add. Whoever exports them reads them when asked. */
export interface ShuffleMetrics {
  stepsOut: number;
  buffersOut: number;
  bytesOut: number;
  buffersIn: number;
  bytesIn: number;
}

export function shuffleMetrics(): ShuffleMetrics {
  return { stepsOut: 0, buffersOut: 0, bytesOut: 0, buffersIn: 0, bytesIn: 0 };
}
