import { type Clock, MillraceError, type SerializedError } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { ChannelT, OpenGateT, OpenWriterT, Push, StepAck, WriterOpened } from './generated/millrace/shuffle.js';
import { decodeWithPayload, encode, reader, SHUFFLE_SERVICES, strictly } from './message.js';
import { type ShuffleMetrics, shuffleMetrics } from './metrics.js';
import { checkChannels } from './shuffle-errors.js';
import type { ChannelDescriptor, InputGate, ShuffleEnvironment, TaskWriter, WriterDescriptor } from './spi.js';
import { WireGate } from './wire-gate.js';
import { WireTaskWriter } from './wire-writer.js';
import { specOfWriter } from './writer-spec.js';

/** Writers and gates of a client that shares no memory with its service, over any connection. */
export class WireEnvironment implements ShuffleEnvironment {
  readonly metrics: ShuffleMetrics = shuffleMetrics();
  readonly #peer: RpcPeer;
  readonly #clock: Clock;
  readonly #writers = new Map<number, WireTaskWriter>();
  readonly #gates = new Map<number, WireGate>();
  #nextHandle = 1;

  constructor(peer: RpcPeer, clock: Clock) {
    this.#peer = peer;
    this.#clock = clock;
    const ack = (body: Uint8Array): void => {
      const ack = StepAck.getRootAsStepAck(reader(body));
      this.#writers.get(ack.handle())?.acknowledged(ack);
    };
    const push = (body: Uint8Array): void => {
      const { header, payload } = decodeWithPayload(body);
      const push = Push.getRootAsPush(header);
      this.#gates.get(push.handle())?.pushed(push, payload);
    };
    const refused = (error: MillraceError): void => {
      this.#fail(error);
      peer.close();
    };
    peer.serve(SHUFFLE_SERVICES.ack, strictly(refused, ack));
    peer.serve(SHUFFLE_SERVICES.push, strictly(refused, push));
    peer.serve(SHUFFLE_SERVICES.refused, (body) => {
      this.#fail(MillraceError.fromJSON(JSON.parse(Buffer.from(body).toString()) as SerializedError));
      return undefined;
    });
    peer.closed.then((cause) => {
      const message = `the shuffle service at ${peer.peer} is gone`;
      const gone = new MillraceError('unavailable', 'SHUFFLE_GONE', message, { cause });
      this.#fail(gone);
    });
  }

  async openWriter(descriptor: WriterDescriptor): Promise<TaskWriter> {
    const handle = this.#nextHandle++;
    const request = encode(new OpenWriterT(handle, specOfWriter(descriptor)));
    const answer = await this.#peer.request(SHUFFLE_SERVICES.openWriter, request);
    const opened = WriterOpened.getRootAsWriterOpened(reader(answer)).unpack();
    const onClose = () => this.#writers.delete(handle);
    const { metrics } = this;
    const clock = this.#clock;
    const peer = this.#peer;
    const writer = new WireTaskWriter({ descriptor, handle, peer, clock, opened, metrics, onClose });
    this.#writers.set(handle, writer);
    return writer;
  }

  async openGate(channels: readonly ChannelDescriptor[]): Promise<InputGate> {
    checkChannels(channels);
    const handle = this.#nextHandle++;
    const { metrics } = this;
    const onClose = () => this.#gates.delete(handle);
    const creditBytes = Math.max(CREDIT_BYTES_MIN, Math.floor(CREDIT_BYTES / Math.max(1, channels.length)));
    const clock = this.#clock;
    const gate = new WireGate({ channels, handle, peer: this.#peer, clock, creditBytes, metrics, onClose });
    // Buffers may come in the same breath as the answer.
    this.#gates.set(handle, gate);
    const wanted = channels.map(
      (c) => new ChannelT(c.partition, c.subpartition, c.consumer, BigInt(c.from.seq), c.from.chain),
    );
    try {
      const request = encode(new OpenGateT(handle, wanted, creditBytes, CREDIT_BUFFERS));
      await this.#peer.request(SHUFFLE_SERVICES.openGate, request);
    } catch (e) {
      await gate.close();
      throw e;
    }
    return gate;
  }

  #fail(error: MillraceError): void {
    for (const opened of [...this.#writers.values(), ...this.#gates.values()]) opened.fail(error);
  }

  async close(): Promise<void> {
    for (const opened of [...this.#writers.values(), ...this.#gates.values()]) await opened.close();
  }
}

/** Credit of a whole gate, shared by its channels; each has at least the minimum. */
const CREDIT_BYTES = 4 * 1024 * 1024;
const CREDIT_BYTES_MIN = 64 * 1024;
const CREDIT_BUFFERS = 64;
