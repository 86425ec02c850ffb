import { Builder } from 'flatbuffers';
import { type Clock, MillraceError, type Timer, xxh64 } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import {
  Handle,
  OpenGate,
  OpenWriter,
  PositionT,
  Push,
  PushT,
  Released,
  Step,
  StepAckT,
  StepOutput,
  WriterOpenedT,
} from './generated/millrace/shuffle.js';
import type { LocalEnvironment } from './local-environment.js';
import { checksumOf } from './local-gate.js';
import { LocalPartitionWriter } from './local-partition-writer.js';
import { beforePayload, decodeWithPayload, encode, reader, SHUFFLE_SERVICES, strictly } from './message.js';
import { bufferCorrupt, malformed } from './shuffle-errors.js';
import { BUFFER_END, type BufferKind, type InputBuffer, type InputGate, type TaskWriter } from './spi.js';
import { writerOfSpec } from './writer-spec.js';

/** The service's end of one client's wire: its writers and gates, opened here in its stead. */
export class WireSession {
  readonly #peer: RpcPeer;
  readonly #environment: LocalEnvironment;
  readonly #clock: Clock;
  readonly #writers = new Map<number, ServedWriter>();
  readonly #gates = new Map<number, ServedGate>();
  #closed = false;

  /** `refuse` ends the connection: what came over it cannot be understood. */
  constructor(peer: RpcPeer, environment: LocalEnvironment, clock: Clock, refuse: (error: MillraceError) => void) {
    this.#peer = peer;
    this.#environment = environment;
    this.#clock = clock;
    peer.serve(SHUFFLE_SERVICES.openWriter, (body) => this.#openWriter(body));
    const step = (body: Uint8Array): void => {
      const { header, payload } = decodeWithPayload(body);
      const step = Step.getRootAsStep(header);
      const writer = this.#writers.get(step.handle());
      if (writer === undefined) throw malformed(`a step of writer ${step.handle()}, which is not open`);
      writer.accept(step, payload);
    };
    peer.serve(SHUFFLE_SERVICES.step, strictly(refuse, step));
    peer.serve(SHUFFLE_SERVICES.closeWriter, async (body) => {
      const handle = Handle.getRootAsHandle(reader(body)).handle();
      await this.#writers.get(handle)?.close();
      this.#writers.delete(handle);
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.openGate, (body) => this.#openGate(body));
    const released = (body: Uint8Array): void => {
      const released = Released.getRootAsReleased(reader(body));
      if (released.seqsLength() !== released.channelsLength()) throw malformed('seqs without channels');
      const gate = this.#gates.get(released.handle());
      for (let i = 0; i < released.seqsLength(); i++) {
        gate?.release(released.channels(i) as number, Number(released.seqs(i)));
      }
    };
    peer.serve(SHUFFLE_SERVICES.released, strictly(refuse, released));
    peer.serve(SHUFFLE_SERVICES.closeGate, async (body) => {
      const handle = Handle.getRootAsHandle(reader(body)).handle();
      await this.#gates.get(handle)?.close();
      this.#gates.delete(handle);
      return undefined;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const gate of this.#gates.values()) await gate.close();
    for (const writer of this.#writers.values()) await writer.abort();
    this.#gates.clear();
    this.#writers.clear();
  }

  async #openWriter(body: Uint8Array): Promise<Uint8Array> {
    const request = OpenWriter.getRootAsOpenWriter(reader(body)).unpack();
    if (request.writer === null) throw malformed('a writer without a description');
    if (this.#writers.has(request.handle)) throw malformed(`writer ${request.handle} a second time`);
    const writer = await this.#environment.openWriter(writerOfSpec(request.writer));
    if (this.#closed) {
      await writer.close();
      throw goneMeanwhile();
    }
    this.#writers.set(request.handle, new ServedWriter(request.handle, writer, this.#peer, this.#clock));
    const positions = writer.partitions.flatMap((p) => p.positions());
    return encode(
      new WriterOpenedT(
        BigInt(writer.position),
        positions.map((p) => new PositionT(BigInt(p.seq), p.chain)),
        WINDOW_BYTES,
      ),
    );
  }

  async #openGate(body: Uint8Array): Promise<undefined> {
    const { handle, channels, creditBytes, creditBuffers } = OpenGate.getRootAsOpenGate(reader(body)).unpack();
    if (this.#gates.has(handle)) throw malformed(`gate ${handle} a second time`);
    const gate = await this.#environment.openGate(
      channels.map(({ partition, subpartition, consumer, seq, chain }) => {
        return { partition: String(partition), subpartition, consumer, from: { seq: Number(seq), chain } };
      }),
    );
    if (this.#closed) {
      await gate.close();
      throw goneMeanwhile();
    }
    const served = new ServedGate(handle, gate, this.#peer, creditBytes, creditBuffers);
    this.#gates.set(handle, served);
    // The answer goes first.
    this.#clock.soon(() => served.pump(this.#clock));
    return undefined;
  }
}

function goneMeanwhile(): MillraceError {
  return new MillraceError('closed', 'SHUFFLE_CLIENT_GONE', 'the connection ended while something was opened for it');
}

/** Takes a wire writer's steps in order and publishes them as a local writer would. */
class ServedWriter {
  readonly #handle: number;
  readonly #writer: TaskWriter;
  readonly #peer: RpcPeer;
  readonly #queue: { readonly step: Step; readonly payload: Uint8Array }[] = [];
  readonly #clock: Clock;
  #busy = false;
  #working: Promise<void> | undefined;
  #finished = false;
  #closed = false;
  #unansweredBytes = 0;
  #answerTimer: Timer | undefined;

  constructor(handle: number, writer: TaskWriter, peer: RpcPeer, clock: Clock) {
    this.#handle = handle;
    this.#writer = writer;
    this.#peer = peer;
    this.#clock = clock;
  }

  accept(step: Step, payload: Uint8Array): void {
    if (this.#finished) return;
    this.#queue.push({ step, payload });
    if (this.#busy) return;
    this.#working = this.#work();
  }

  /** Publishes what arrived, then closes. */
  async close(): Promise<void> {
    await this.#working;
    await this.abort();
  }

  async abort(): Promise<void> {
    this.#finished = true;
    this.#closed = true;
    this.#answerTimer?.cancel();
    this.#queue.length = 0;
    await this.#writer.close();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    try {
      await this.#publishQueue();
    } finally {
      this.#busy = false;
    }
    // What arrived while the last step was being answered.
    if (this.#queue.length > 0) await this.#work();
  }

  async #publishQueue(): Promise<void> {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if (!this.#writer.available) {
        await this.#writer.whenAvailable(1000);
        continue;
      }
      this.#queue.shift();
      this.#unansweredBytes += next.payload.length;
      try {
        this.#publish(next.step, next.payload);
        this.#peer.recycle(next.payload);
      } catch (e) {
        this.#finished = true;
        this.#queue.length = 0;
        return this.#ack(JSON.stringify(MillraceError.from(e).toJSON()));
      }
      if (this.#unansweredBytes >= ANSWER_BYTES) this.#ack(null);
      else this.#answerTimer ??= this.#clock.schedule(ANSWER_MS, () => this.#ack(null));
    }
  }

  #publish(step: Step, payload: Uint8Array): void {
    // Before anything is staged: a step that comes twice, or after a lost one, must not become visible.
    const due = this.#writer.position + 1;
    if (Number(step.position()) !== due) throw malformed(`step ${step.position()} where ${due} was due`);
    const output = new StepOutput();
    let byte = 0;
    for (let i = 0; i < step.outputsLength(); i++) {
      const o = step.outputs(i, output);
      const partition = this.#writer.partitions[o?.partition() ?? -1];
      if (o === null || !(partition instanceof LocalPartitionWriter)) throw malformed('an output of no partition');
      const bytes = payload.subarray(byte, byte + o.length());
      byte += Math.ceil(o.length() / 8) * 8;
      const checksum = xxh64(bytes);
      const subpartition = o.subpartition();
      if (checksum !== o.checksum()) {
        const seq = partition.positions()[subpartition === EVERY_SUBPARTITION ? 0 : subpartition]?.seq ?? 0;
        throw bufferCorrupt(partition.descriptor.partition, subpartition, seq, 'it was damaged on the way here');
      }
      const kind = o.kind() as BufferKind;
      if (kind > BUFFER_END) throw malformed(`an output of kind ${kind}`);
      if (kind !== 0) partition.event(kind, bytes);
      else partition.emitVerified(subpartition, bytes, o.rows(), checksum);
    }
    if (byte !== payload.length) throw malformed(`a step of ${byte} bytes with a payload of ${payload.length}`);
    this.#writer.publish(step.determinantsArray() ?? NOTHING);
  }

  #ack(error: string | null): void {
    this.#answerTimer?.cancel();
    this.#answerTimer = undefined;
    this.#unansweredBytes = 0;
    if (this.#closed) return;
    const { available, position } = this.#writer;
    this.#peer.notify(
      SHUFFLE_SERVICES.ack,
      encode(new StepAckT(this.#handle, BigInt(position), error !== null || available, error)),
    );
    if (error === null && !available && this.#queue.length === 0) this.#ackLater();
  }

  /** The client has nothing under way and waits for this. */
  async #ackLater(): Promise<void> {
    while (!this.#writer.available) await this.#writer.whenAvailable(1000);
    if (!this.#closed && this.#queue.length === 0) this.#ack(null);
  }
}

/** Pushes what a local gate reads, within the credit the client gave. */
class ServedGate {
  readonly #handle: number;
  readonly #gate: InputGate;
  readonly #peer: RpcPeer;
  readonly #creditBytes: number;
  readonly #creditBuffers: number;
  /** Per channel: pushed and not yet released. */
  readonly #held: Map<number, InputBuffer>[];
  readonly #heldBytes: number[];
  readonly #builder = new Builder(256);
  #closed = false;

  constructor(handle: number, gate: InputGate, peer: RpcPeer, creditBytes: number, creditBuffers: number) {
    this.#handle = handle;
    this.#gate = gate;
    this.#peer = peer;
    this.#creditBytes = creditBytes;
    this.#creditBuffers = creditBuffers;
    this.#held = gate.channels.map(() => new Map());
    this.#heldBytes = gate.channels.map(() => 0);
  }

  async pump(clock: Clock): Promise<void> {
    try {
      while (!this.#closed) {
        for (let pushed = 0; pushed < BURST_BUFFERS && this.#pushOne(); pushed++);
        if (this.#closed) return;
        await this.#gate.whenAvailable(1000);
        // One connection must not keep the others of this thread from being served.
        await new Promise<void>((resolve) => clock.soon(resolve));
      }
    } catch (e) {
      if (this.#closed) return;
      const error = JSON.stringify(MillraceError.from(e).toJSON());
      const push = new PushT(this.#handle, 0, 0n, 0n, 0, 0, error);
      this.#peer.notify(SHUFFLE_SERVICES.push, beforePayload(encode(push)));
    }
  }

  release(channel: number, seq: number): void {
    const held = this.#held[channel];
    const buffer = held?.get(seq);
    if (held === undefined || buffer === undefined)
      throw malformed(`buffer ${seq} of channel ${channel}, not held, back`);
    held.delete(seq);
    this.#heldBytes[channel] = (this.#heldBytes[channel] as number) - buffer.bytes.length;
    buffer.release();
    if (this.#hasCredit(channel)) this.#gate.resume(channel);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#gate.close();
  }

  #pushOne(): boolean {
    const buffer = this.#closed ? undefined : this.#gate.poll();
    if (buffer === undefined) return false;
    const { channel, seq, kind, rows, bytes } = buffer;
    const builder = this.#builder;
    builder.clear();
    // Not computed anew: what is damaged between the gate's look and the wire must not get a checksum that fits.
    const checksum = checksumOf(buffer);
    builder.finish(Push.createPush(builder, this.#handle, channel, BigInt(seq), checksum, kind, rows, 0));
    // From the arena to the socket: the buffer is not released before the client has it.
    this.#peer.notify(SHUFFLE_SERVICES.push, beforePayload(builder.asUint8Array()), bytes);
    this.#held[channel]?.set(seq, buffer);
    this.#heldBytes[channel] = (this.#heldBytes[channel] as number) + bytes.length;
    if (!this.#hasCredit(channel)) this.#gate.pause(channel);
    return true;
  }

  #hasCredit(channel: number): boolean {
    const buffers = this.#held[channel]?.size ?? 0;
    return buffers < this.#creditBuffers && (this.#heldBytes[channel] as number) < this.#creditBytes;
  }
}

/** In `StepOutput.subpartition`: an event in each of them. */
export const EVERY_SUBPARTITION = 0xffff_ffff;
/** Bytes of unacknowledged steps a wire writer may have under way. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** One answer for so many bytes of steps, or after so long: an answer to each wakes the client for each. */
const ANSWER_BYTES = 512 * 1024;
const ANSWER_MS = 1;
const BURST_BUFFERS = 64;
const NOTHING = new Uint8Array(0);
