import type { RpcPeer } from '../base/rpc/index.js';
import {
  ReleaseJobRequest,
  ReleaseRequest,
  SealAnswerT,
  SealRequest,
  TrimRequest,
} from './generated/millrace/shuffle.js';
import { encode, reader, SHUFFLE_SERVICES } from './message.js';
import { encodeEvent, encodeList } from './remote-master.js';
import type { ShuffleMaster } from './spi.js';
import { decodeWriterSpec } from './writer-spec.js';

/** Lets the `RemoteMaster`s of other processes use a master of this one: any implementation of it. */
export class MasterServer {
  readonly #master: ShuffleMaster;
  readonly #listening = new Set<RpcPeer>();
  /** Who registered each writer, as long as it is connected. */
  readonly #owners = new Map<string, RpcPeer>();

  constructor(master: ShuffleMaster) {
    this.#master = master;
    master.onEvent((event) => {
      for (const peer of this.#listening) peer.notify(SHUFFLE_SERVICES.events, encodeEvent(event));
    });
  }

  /** Whether the client that registered a writer is still connected. */
  isOwned(writer: string): boolean {
    return this.#owners.has(writer);
  }

  /** Until the connection closes. */
  serve(peer: RpcPeer): void {
    const master = this.#master;
    peer.serve(SHUFFLE_SERVICES.register, async (body) => {
      const writer = decodeWriterSpec(body);
      this.#owners.set(writer.writer, peer);
      await master.register(writer);
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.seal, async (body) => {
      const request = SealRequest.getRootAsSealRequest(reader(body));
      const { tail } = await master.seal(String(request.writer()), request.epoch());
      return encode(new SealAnswerT(BigInt(tail)));
    });
    peer.serve(SHUFFLE_SERVICES.trim, async (body) => {
      const { partition, seqs } = TrimRequest.getRootAsTrimRequest(reader(body)).unpack();
      await master.trim(String(partition), seqs.map(Number));
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.release, async (body) => {
      const writer = String(ReleaseRequest.getRootAsReleaseRequest(reader(body)).writer());
      this.#owners.delete(writer);
      await master.release(writer);
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.releaseJob, async (body) => {
      await master.releaseJob(String(ReleaseJobRequest.getRootAsReleaseJobRequest(reader(body)).job()));
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.list, async () => encodeList(await master.list()));
    peer.serve(SHUFFLE_SERVICES.events, () => {
      this.#listening.add(peer);
      return undefined;
    });
    void peer.closed.then(() => {
      this.#listening.delete(peer);
      for (const [writer, owner] of [...this.#owners]) if (owner === peer) this.#owners.delete(writer);
    });
  }
}
