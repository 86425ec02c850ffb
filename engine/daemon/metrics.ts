import type { SegmentHome } from '../../checkpoint/index.js';
import type { ShuffleServiceEnd, ShuffleServiceMetrics, WriterStatus } from '../../shuffle/index.js';

/** Of each number that a shuffle service counts: the name it has here, and what it is. */
const SHUFFLE_METRICS: Readonly<Record<keyof ShuffleServiceMetrics, readonly [name: string, help: string]>> = {
  connections: ['shuffle_connections', 'Clients of the shuffle service'],
  writers: ['shuffle_task_logs', 'Task logs laid out'],
  slots: ['shuffle_slots', 'Slots of the arena'],
  freeSlots: ['shuffle_slots_free', 'Slots that nobody owns'],
  quarantinedSlots: ['shuffle_slots_quarantined', 'Slots that a given-up writer might still write to'],
  partitionsLost: ['shuffle_partitions_lost_total', 'Times that a position was not retained any more'],
  pressureEvents: ['shuffle_pressure_total', 'Times that retained bytes asked for a checkpoint'],
  degradedEvents: ['shuffle_degraded_total', 'Times that consumed buffers went before a checkpoint covered them'],
  writersExpired: ['shuffle_writers_expired_total', 'Writers released because nobody wanted them any more'],
  disksSetAside: ['shuffle_disks_set_aside_total', 'Disks for spilled data that are not used any more'],
  spilledRegions: ['shuffle_spilled_regions', 'Files of spilled buffers, on disk or in an object store'],
  spilledBytes: ['shuffle_spilled_bytes', 'Bytes of spilled buffers on disk'],
  spilledObjectBytes: ['shuffle_spilled_object_bytes', 'Bytes of spilled buffers in an object store'],
  spillBytesWritten: ['shuffle_spill_bytes_written_total', 'Bytes written to disk for want of memory, or to be kept'],
  spillBytesRead: ['shuffle_spill_bytes_read_total', 'Bytes of spilled buffers read back'],
  stepsOut: ['shuffle_wire_steps_written_total', 'Steps that writers published over connections'],
  buffersOut: ['shuffle_wire_buffers_written_total', 'Buffers that came in over connections'],
  bytesOut: ['shuffle_wire_bytes_written_total', 'Bytes of buffers that came in over connections'],
  buffersIn: ['shuffle_wire_buffers_read_total', 'Buffers that went out over connections'],
  bytesIn: ['shuffle_wire_bytes_read_total', 'Bytes of buffers that went out over connections'],
};

export interface DaemonMetrics {
  /** Prometheus' text format. */
  text(): Promise<string>;
  close(): void;
}

/** Prometheus metrics of a daemon and its process. The services bump plain numbers; they are looked at when somebody asks. */
export async function daemonMetrics(sources: {
  readonly shuffle: ShuffleServiceEnd;
  readonly home: SegmentHome;
  readonly connections: () => number;
  readonly labels: Readonly<Record<string, string>>;
}): Promise<DaemonMetrics> {
  // Of daemons with a front door alone: it takes a while to load.
  const { Counter, collectDefaultMetrics, Gauge, Registry } = await import('prom-client');
  const { shuffle, home } = sources;
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `millrace_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name: `millrace_${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  let writers: readonly WriterStatus[] = [];
  let counted: ShuffleServiceEnd['metrics'];
  const partitions = () => writers.flatMap((writer) => writer.partitions);
  const sum = (of: (partition: WriterStatus['partitions'][number]) => number) =>
    partitions().reduce((total, partition) => total + of(partition), 0);
  const labelNames = Object.keys(sources.labels);
  new Gauge({ name: 'millrace_info', help: 'What this daemon is', labelNames, registers }).set(
    { ...sources.labels },
    1,
  );
  gauge('connections', 'Workers, slots and schedulers connected', sources.connections);
  gauge('held_segment_bytes', 'Bytes of state segments whose checkpoint is not complete', () => home.heldBytes);
  gauge('shuffle_writers', 'Writers registered', () => writers.length);
  gauge('shuffle_writers_sealed', 'Writers that no attempt may write to', () => writers.filter((w) => w.sealed).length);
  gauge('shuffle_partitions', 'Result partitions', () => partitions().length);
  gauge('shuffle_subpartitions', 'Subpartitions of them all', () => sum(({ nextSeqs }) => nextSeqs.length));
  gauge('shuffle_retained_bytes', 'Bytes of buffers not yet trimmed', () => sum(({ retainedBytes }) => retainedBytes));
  for (const [key, [name, help]] of Object.entries(SHUFFLE_METRICS)) {
    const read = () => counted?.[key as keyof ShuffleServiceMetrics] ?? 0;
    if (shuffle.metrics?.[key as keyof ShuffleServiceMetrics] === undefined) continue;
    if (name.endsWith('_total')) counter(name, help, read);
    else gauge(name, help, read);
  }
  if (shuffle.metrics?.slots !== undefined) {
    const owned = () => (counted?.slots ?? 0) - (counted?.freeSlots ?? 0) - (counted?.quarantinedSlots ?? 0);
    gauge('shuffle_slots_owned', 'Slots that writers have', owned);
  }
  collectDefaultMetrics({ register: registry });
  return {
    async text() {
      writers = await shuffle.master.list();
      counted = shuffle.metrics;
      return registry.metrics();
    },
    close: () => registry.clear(),
  };
}
