import type { RpcPeer } from '../base/rpc/index.js';
import {
  Event,
  EventT,
  ListAnswer,
  ListAnswerT,
  PartitionStateT,
  ReleaseJobRequestT,
  ReleaseRequestT,
  SealAnswer,
  SealRequestT,
  TrimRequestT,
  WriterStateT,
} from './generated/millrace/shuffle.js';
import { encode, reader, SHUFFLE_SERVICES } from './message.js';
import type { ShuffleEvent, ShuffleMaster, WriterDescriptor, WriterStatus } from './spi.js';
import { checkWriter, encodeWriterSpec, PARTITION_TYPES } from './writer-spec.js';

const NOTHING = new Uint8Array(0);

/** The master of a service in another process. Errors of the service come through as they are. */
export class RemoteMaster implements ShuffleMaster {
  readonly #peer: RpcPeer;
  readonly #handlers: ((event: ShuffleEvent) => void)[] = [];

  constructor(peer: RpcPeer) {
    this.#peer = peer;
    peer.serve(SHUFFLE_SERVICES.events, (body) => {
      const event = decodeEvent(body);
      for (const handler of this.#handlers) handler(event);
      return undefined;
    });
  }

  async register(writer: WriterDescriptor): Promise<void> {
    // Here, for a number that is none cannot be sent.
    checkWriter(writer);
    await this.#peer.request(SHUFFLE_SERVICES.register, encodeWriterSpec(writer));
  }

  async seal(writer: string, epoch: number): Promise<{ readonly tail: number }> {
    const answer = await this.#peer.request(SHUFFLE_SERVICES.seal, encode(new SealRequestT(writer, epoch)));
    return { tail: Number(SealAnswer.getRootAsSealAnswer(reader(answer)).tail()) };
  }

  async trim(partition: string, seqs: readonly number[]): Promise<void> {
    await this.#peer.request(SHUFFLE_SERVICES.trim, encode(new TrimRequestT(partition, seqs.map(BigInt))));
  }

  async release(writer: string): Promise<void> {
    await this.#peer.request(SHUFFLE_SERVICES.release, encode(new ReleaseRequestT(writer)));
  }

  async releaseJob(job: string): Promise<void> {
    await this.#peer.request(SHUFFLE_SERVICES.releaseJob, encode(new ReleaseJobRequestT(job)));
  }

  async list(): Promise<readonly WriterStatus[]> {
    return decodeList(await this.#peer.request(SHUFFLE_SERVICES.list, NOTHING));
  }

  onEvent(handler: (event: ShuffleEvent) => void): void {
    if (this.#handlers.push(handler) === 1) this.#peer.notify(SHUFFLE_SERVICES.events, NOTHING);
  }

  async close(): Promise<void> {
    this.#handlers.length = 0;
  }
}

export function encodeList(writers: readonly WriterStatus[]): Uint8Array {
  const states = writers.map((w) => {
    const partitions = w.partitions.map(
      (p) =>
        new PartitionStateT(
          p.partition,
          p.firstSeqs.map(BigInt),
          p.nextSeqs.map(BigInt),
          BigInt(p.retainedBytes),
          PARTITION_TYPES.indexOf(p.type),
          p.finished,
        ),
    );
    return new WriterStateT(w.writer, w.epoch, w.sealed, BigInt(w.tail), partitions, w.job ?? null);
  });
  return encode(new ListAnswerT(states));
}

function decodeList(bytes: Uint8Array): readonly WriterStatus[] {
  const { writers } = ListAnswer.getRootAsListAnswer(reader(bytes)).unpack();
  return writers.map((w) => ({
    writer: String(w.writer),
    epoch: w.epoch,
    sealed: w.sealed,
    tail: Number(w.tail),
    job: w.job === null ? undefined : String(w.job),
    partitions: w.partitions.map((p) => ({
      partition: String(p.partition),
      type: PARTITION_TYPES[p.type] ?? 'pipelined',
      finished: p.finished,
      firstSeqs: p.firstSeqs.map(Number),
      nextSeqs: p.nextSeqs.map(Number),
      retainedBytes: Number(p.retainedBytes),
    })),
  }));
}

export function encodeEvent(event: ShuffleEvent): Uint8Array {
  switch (event.kind) {
    case 'lost':
      return encode(new EventT(EVENT_LOST, event.partition, event.reason));
    case 'pressure':
      return encode(new EventT(EVENT_PRESSURE, event.writer, null, BigInt(event.retainedBytes)));
    case 'degraded':
      return encode(new EventT(EVENT_DEGRADED, event.partition, null, BigInt(event.firstSeq)));
    case 'expired':
      return encode(new EventT(EVENT_EXPIRED, event.writer, event.reason));
    case 'diskSetAside':
      return encode(new EventT(EVENT_DISK, event.folder, event.reason));
  }
}

function decodeEvent(bytes: Uint8Array): ShuffleEvent {
  const { kind, subject, reason, number } = Event.getRootAsEvent(reader(bytes)).unpack();
  const name = String(subject);
  switch (kind) {
    case EVENT_LOST:
      return { kind: 'lost', partition: name, reason: String(reason) };
    case EVENT_PRESSURE:
      return { kind: 'pressure', writer: name, retainedBytes: Number(number) };
    case EVENT_EXPIRED:
      return { kind: 'expired', writer: name, reason: String(reason) };
    case EVENT_DISK:
      return { kind: 'diskSetAside', folder: name, reason: String(reason) };
    default:
      return { kind: 'degraded', partition: name, firstSeq: Number(number) };
  }
}

const EVENT_LOST = 0;
const EVENT_PRESSURE = 1;
const EVENT_DEGRADED = 2;
const EVENT_EXPIRED = 3;
const EVENT_DISK = 4;
