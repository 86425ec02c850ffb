import { Gauge, Registry } from 'prom-client';
import type { SegmentHome } from '../../checkpoint/index.js';
import type { ShuffleMaster } from '../../shuffle/index.js';

/** Prometheus text of a daemon, read from plain counters when it is asked for. */
export function daemonMetrics(sources: {
  readonly shuffle: ShuffleMaster;
  readonly home: SegmentHome;
  readonly connections: () => number;
}): () => Promise<string> {
  const registry = new Registry();
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `millrace_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  let writers: Awaited<ReturnType<ShuffleMaster['list']>> = [];
  const partitions = () => writers.flatMap((writer) => writer.partitions);
  gauge('connections', 'Workers, slots and schedulers connected', sources.connections);
  gauge('held_segment_bytes', 'Bytes of state segments whose checkpoint is not complete', () => sources.home.heldBytes);
  gauge('shuffle_writers', 'Task logs', () => writers.length);
  gauge('shuffle_partitions', 'Result partitions', () => partitions().length);
  gauge('shuffle_retained_bytes', 'Bytes of buffers not yet trimmed', () =>
    partitions().reduce((total, partition) => total + partition.retainedBytes, 0),
  );
  return async () => {
    writers = await sources.shuffle.list();
    return registry.metrics();
  };
}
