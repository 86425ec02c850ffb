/** Producers and consumers of a simulated shuffle. */
import { MillraceError, type Random, sleep, xxh64 } from '../base/index.js';
import {
  type BufferKind,
  ChainHash,
  type ChannelDescriptor,
  type InputBuffer,
  type InputGate,
  type ResultPartitionWriter,
  type TaskWriter,
} from '../shuffle/index.js';
import { isTransient, linkToShuffle, pause, type ShuffleLink, type ShuffleParts } from './shuffle-daemon.js';
import type { ChannelState, ConsumerState, WriterState } from './shuffle-model.js';
import { descriptorOf, type PlannedBuffer, type WriterPlan } from './shuffle-plan.js';
import type { SimContext } from './sim-process.js';

export const SHUFFLE_JOB = 'job';
/** A mapped producer whose daemon is gone goes on for about so long. */
const LINGER_MS = 150;

export function writerDescriptor({ writer, partitions }: WriterPlan, epoch: number) {
  return { writer, epoch, job: SHUFFLE_JOB, partitions: partitions.map(descriptorOf) };
}

/** One attempt of a producer: goes on where the log ends, to the END of every partition. */
export async function producerMain(
  context: SimContext,
  parts: ShuffleParts,
  state: WriterState,
  epoch: number,
): Promise<void> {
  const { plan } = state;
  const link = await linkToShuffle(context, parts, plan.mapped);
  try {
    const environment = parts.watch.environment(link.client.environment, context.process.name, plan.mapped);
    const writer = await environment.openWriter(writerDescriptor(plan, epoch));
    if (state.epoch === epoch) {
      for (const [i, partition] of writer.partitions.entries()) parts.model.opened(state, i, partition.positions());
    }
    await produce(context, link, writer, state);
    await writer.stored();
    if (state.epoch === epoch && state.phase === 'registered') state.phase = 'finished';
    await writer.close();
  } catch (error) {
    // Fenced or sealed before it was opened: it is not the current attempt any more.
    const isOld = error instanceof MillraceError && (error.kind === 'fenced' || error.code === 'WRITER_UNKNOWN');
    // The service seals whose connection broke, and may notice it first.
    if (isOld && state.epoch === epoch && !link.gone) await sleep(context.clock, 100);
    if (!isTransient(error) && !(isOld && (state.epoch > epoch || isDone(state) || link.gone))) throw error;
  }
  await link.close();
  context.process.exitSoon(0);
}

function isDone({ phase }: WriterState): boolean {
  return phase === 'released' || phase === 'lost';
}

/** One thing to stage. */
type Emission = (writer: ResultPartitionWriter) => void;

async function produce(context: SimContext, link: ShuffleLink, writer: TaskWriter, state: WriterState): Promise<void> {
  const { clock, random } = context;
  const { plan, expected } = state;
  const work = writer.partitions.map((partition, i) => {
    const buffers = expected.get(plan.partitions[i]?.partition ?? '') ?? [];
    return emissions(
      buffers,
      partition.positions().map(({ seq }) => seq),
    );
  });
  const next = work.map(() => 0);
  const lingerMs = random.float() * LINGER_MS;
  let goneMs: number | undefined;
  while (next.some((at, i) => at < (work[i]?.length ?? 0))) {
    if (link.gone) goneMs ??= clock.monotonicMs();
    if (goneMs !== undefined && clock.monotonicMs() - goneMs > lingerMs) {
      throw new MillraceError('unavailable', 'SIM_GAVE_UP', 'the daemon is gone');
    }
    if (!writer.available) {
      await writer.whenAvailable(50);
      continue;
    }
    const staged = stageSome(random, writer, work, next);
    for (const [i, { partition }] of plan.partitions.entries()) {
      if (next[i] === work[i]?.length) state.ended.add(partition);
    }
    writer.publish(random.chance(0.3) ? Buffer.from(`determinants ${writer.position}`) : new Uint8Array(0));
    // No room: whoever goes on at once meets the same.
    if (staged === 0) await pause(clock, random, 20);
    else if (plan.paceMs > 0) await pause(clock, random, 2 * plan.paceMs);
    else if (random.chance(0.2)) await pause(clock, random, 0.2);
  }
}

/** Stages some of what is due. How many: 0 when there is no room. */
function stageSome(random: Random, writer: TaskWriter, work: readonly (readonly Emission[])[], next: number[]): number {
  const wanted = 1 + random.below(6);
  for (let staged = 0; staged < wanted; staged++) {
    const open = next.flatMap((at, i) => (at < (work[i]?.length ?? 0) ? [i] : []));
    const chosen = open[random.below(Math.max(1, open.length))];
    if (chosen === undefined) return staged;
    try {
      work[chosen]?.[next[chosen] as number]?.(writer.partitions[chosen] as ResultPartitionWriter);
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'SHUFFLE_MEMORY_FULL') return staged;
      throw error;
    }
    next[chosen] = (next[chosen] as number) + 1;
  }
  return wanted;
}

/** What is left of a partition behind these positions. An event is staged in all subpartitions at once. */
function emissions(subs: readonly (readonly PlannedBuffer[])[], positions: readonly number[]): Emission[] {
  const found: Emission[] = [];
  const at = [...positions];
  const peek = (sub: number) => subs[sub]?.[at[sub] as number];
  const last = subs[0]?.at(-1)?.round ?? 0;
  for (let round = 0; round <= last; round++) {
    for (let sub = 0; sub < subs.length; sub++) {
      for (let buffer = peek(sub); buffer?.round === round && buffer.kind === 0; buffer = peek(sub)) {
        const { bytes, rows } = buffer;
        found.push((writer) => writer.emit(sub, bytes, rows));
        at[sub] = (at[sub] as number) + 1;
      }
    }
    const event = peek(0);
    if (event?.round !== round || event.kind === 0) continue;
    const { kind, bytes } = event;
    found.push((writer) => writer.event(kind as Exclude<BufferKind, 0>, bytes));
    for (let sub = 0; sub < subs.length; sub++) at[sub] = (at[sub] as number) + 1;
  }
  return found;
}

/** One attempt of a consumer, over as many connections as it takes. */
export async function consumerMain(
  context: SimContext,
  parts: ShuffleParts,
  consumer: ConsumerState,
  attempt: number,
): Promise<void> {
  const isCurrent = () => consumer.attempts === attempt;
  while (isCurrent() && !consumer.done) {
    const link = await linkToShuffle(context, parts, consumer.mapped);
    await readOnce(context, parts, consumer, link, isCurrent).catch((error: unknown) => {
      // What a dead attempt, or a broken connection, asked for may come after what its successor asked for.
      const isReplaced = error instanceof MillraceError && error.code === 'CONSUMER_FENCED';
      if (!isTransient(error) && !isReplaced) throw error;
    });
    await link.close();
    if (!isCurrent()) break;
    const { channels } = consumer;
    if (!channels.some(({ state }) => state === 'reading')) readAgainOrEnd(consumer);
    else await pause(context.clock, context.random, 20);
  }
  context.process.exitSoon(0);
}

/** What is kept can be read again, from anywhere, until it is released. */
function readAgainOrEnd(consumer: ConsumerState): void {
  const again = consumer.channels.filter((c) => c.partition.type !== 'pipelined' && c.state === 'ended');
  if (consumer.readAgain-- > 0 && again.length > 0) for (const channel of again) channel.state = 'reading';
  else consumer.done = true;
}

/** A channel as one gate reads it. */
interface Reading {
  readonly channel: ChannelState;
  /** Due next. */
  seq: number;
  /** All below are released. */
  released: number;
  readonly early: Set<number>;
}

async function readOnce(
  context: SimContext,
  parts: ShuffleParts,
  consumer: ConsumerState,
  link: ShuffleLink,
  isCurrent: () => boolean,
): Promise<void> {
  const { clock, random } = context;
  const { writer } = consumer;
  // A cursor at the END of a pipelined partition says that nothing more is wanted; who died may not have told.
  const readings = consumer.channels
    .filter(({ state, partition }) => state === 'reading' || (state === 'ended' && partition.type === 'pipelined'))
    .map((channel) => startReading(random, parts, consumer, channel));
  const direct = consumer.mapped && writer.plan.mapped;
  const environment = parts.watch.environment(link.client.environment, context.process.name, direct);
  let gate: InputGate;
  const { isGone } = writer;
  try {
    gate = await environment.openGate(readings.map(channelOf));
  } catch (error) {
    return refused(error, parts, consumer, readings, isCurrent);
  }
  if (isGone && readings.length > 0) parts.model.openedAfterRelease(consumer);
  const held: { readonly reading: Reading; readonly buffer: InputBuffer }[] = [];
  const release = (i: number) => {
    const [{ reading, buffer }] = held.splice(i, 1) as [(typeof held)[number]];
    buffer.release();
    released(reading, buffer.seq, isCurrent());
  };
  while (readings.some(({ channel }) => channel.state === 'reading') || held.length > 0) {
    let buffer: InputBuffer | undefined;
    try {
      buffer = gate.poll();
    } catch (error) {
      return refused(error, parts, consumer, readings, isCurrent);
    }
    if (buffer === undefined) {
      while (held.length > 0) release(random.below(held.length));
      if (!readings.some(({ channel }) => channel.state === 'reading') || !isCurrent()) break;
      await gate.whenAvailable(100);
      continue;
    }
    const reading = readings[buffer.channel] as Reading;
    parts.model.read(reading.channel, reading.seq, buffer, consumer);
    reading.seq++;
    held.push({ reading, buffer });
    while (held.length > random.below(4)) release(random.below(held.length));
    if (writer.plan.consumerPaceMs > 0) await pause(clock, random, 2 * writer.plan.consumerPaceMs);
    else if (random.chance(0.1)) await pause(clock, random, 0.1);
  }
  await gate.close();
}

function startReading(
  random: Random,
  { model }: ShuffleParts,
  consumer: ConsumerState,
  channel: ChannelState,
): Reading {
  if (channel.state === 'ended') {
    const seq = channel.expected.length;
    return { channel, seq, released: seq, early: new Set() };
  }
  const floor = Math.min(model.floor(consumer.writer, channel), channel.position);
  let seq = channel.position;
  // As a task does that goes on from a checkpoint ..
  if (random.chance(0.4)) seq = floor + random.below(channel.position - floor + 1);
  // .. or one that knows no better.
  if (random.chance(0.1)) seq = random.below(channel.position + 1);
  const again = seq >= channel.expected.length;
  if (again) seq = Math.min(floor + random.below(seq - floor + 1), channel.expected.length - 1);
  if (seq >= floor) channel.position = seq;
  return { channel, seq, released: seq, early: new Set() };
}

function channelOf({ channel, seq }: Reading): ChannelDescriptor {
  const { partition, subpartition, consumer, expected } = channel;
  const last = expected.at(-1) as PlannedBuffer;
  const chain = expected[seq]?.chain ?? new ChainHash().next(last.chain, xxh64(last.bytes));
  return { partition: partition.partition, subpartition, consumer, from: { seq, chain } };
}

function released(reading: Reading, seq: number, isCurrent: boolean): void {
  reading.early.add(seq);
  while (reading.early.delete(reading.released)) reading.released++;
  const { channel } = reading;
  channel.highest = Math.max(channel.highest, reading.released);
  if (!isCurrent) return;
  channel.position = Math.max(channel.position, reading.released);
  if (reading.released === channel.expected.length) channel.state = 'ended';
}

/** What cannot be read is given up, or tried again from further on. @throws what has nothing to do with a lost partition. */
function refused(
  error: unknown,
  { model }: ShuffleParts,
  consumer: ConsumerState,
  readings: readonly Reading[],
  isCurrent: () => boolean,
): void {
  const { code, context } = MillraceError.from(error);
  const isDamaged = code === 'BUFFER_CORRUPT' && model.harmed;
  if (!(error instanceof MillraceError) || (code !== 'PARTITION_LOST' && !isDamaged)) throw error;
  const { partition, subpartition, seq } = (context ?? {}) as Record<string, unknown>;
  const reading = readings.find(
    ({ channel }) => channel.partition.partition === partition && channel.subpartition === subpartition,
  );
  if (reading === undefined) return model.unnamed(error, consumer);
  if (!isCurrent()) return;
  const { channel } = reading;
  if (model.lost(channel, Number(seq), error, consumer)) channel.state = 'lost';
  else {
    channel.position = Math.max(channel.position, channel.highest, model.floor(consumer.writer, channel));
    if (channel.position >= channel.expected.length) channel.state = 'ended';
  }
}
