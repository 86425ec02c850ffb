import { Builder } from 'flatbuffers';
import type { RpcPeer } from '../base/rpc/index.js';
import {
  ReadSpilled as ReadSpilledRequest,
  ReadSpilledT,
  Spilled,
  SpilledBuffer,
} from './generated/millrace/shuffle.js';
import { beforePayload, decodeWithPayload, encode, reader, SHUFFLE_SERVICES } from './message.js';
import type { RegionBuffer } from './region-file.js';
import type { BufferKind } from './spi.js';
import type { ReadSpilled } from './spilled-reader.js';

/** Reads spilled buffers over a client's connection (`ReadSpilled` of protocol.fbs). */
export function readSpilledOver(peer: RpcPeer): ReadSpilled {
  return async (partition, subpartition, seq, bytesMax) => {
    const request = encode(new ReadSpilledT(partition, subpartition, BigInt(seq), bytesMax));
    return decodeSpilled(await peer.request(SHUFFLE_SERVICES.readSpilled, request));
  };
}

/** Serves that from the service's disks, which read on while an answer is under way. */
export function serveSpilled(peer: RpcPeer, fromDisk: ReadSpilled): void {
  const read = readingAhead(fromDisk);
  peer.serve(SHUFFLE_SERVICES.readSpilled, async (body) => {
    const request = ReadSpilledRequest.getRootAsReadSpilled(reader(body));
    const bytesMax = Math.min(request.bytesMax(), ANSWER_BYTES_MAX);
    const buffers = await read(String(request.partition()), request.subpartition(), Number(request.seq()), bytesMax);
    return encodeSpilled(buffers);
  });
}

/** What comes after an answer is read at once: whoever asked will most likely ask for that. */
function readingAhead(read: ReadSpilled): ReadSpilled {
  const ahead = new Map<string, { readonly seq: number; readonly buffers: Promise<readonly RegionBuffer[]> }>();
  return async (partition, subpartition, seq, bytesMax) => {
    const key = `${subpartition} ${partition}`;
    const known = ahead.get(key);
    ahead.delete(key);
    const buffers = await (known?.seq === seq ? known.buffers : read(partition, subpartition, seq, bytesMax));
    if (buffers.length > 0 && ahead.size < AHEAD_MAX) {
      const next = seq + buffers.length;
      const following = read(partition, subpartition, next, bytesMax);
      // Told to whoever asks for it, if anybody does.
      following.catch(() => {});
      ahead.set(key, { seq: next, buffers: following });
    }
    return buffers;
  };
}

/** So many readers of one connection are read ahead for. */
const AHEAD_MAX = 16;

function encodeSpilled(buffers: readonly RegionBuffer[]): Uint8Array {
  const builder = new Builder(64 + buffers.length * 48);
  Spilled.startBuffersVector(builder, buffers.length);
  for (let i = buffers.length - 1; i >= 0; i--) {
    const { seq, checksum, chain, bytes, rawLength, rows, kind } = buffers[i] as RegionBuffer;
    SpilledBuffer.createSpilledBuffer(builder, BigInt(seq), checksum, chain, bytes.length, rawLength, rows, kind);
  }
  const vector = builder.endVector();
  builder.finish(Spilled.createSpilled(builder, vector));
  const before = beforePayload(builder.asUint8Array());
  const answer = new Uint8Array(buffers.reduce((sum, { bytes }) => sum + padded(bytes.length), before.length));
  answer.set(before);
  let byte = before.length;
  for (const { bytes } of buffers) {
    answer.set(bytes, byte);
    byte += padded(bytes.length);
  }
  return answer;
}

function decodeSpilled(answer: Uint8Array): readonly RegionBuffer[] {
  const { header, payload } = decodeWithPayload(answer);
  const spilled = Spilled.getRootAsSpilled(header);
  let byte = 0;
  return Array.from({ length: spilled.buffersLength() }, (_, i) => {
    const b = spilled.buffers(i) as SpilledBuffer;
    const found = payload.subarray(byte, byte + b.length());
    byte += padded(b.length());
    return {
      seq: Number(b.seq()),
      kind: b.kind() as BufferKind,
      rows: b.rows(),
      rawLength: b.rawLength(),
      checksum: b.checksum(),
      chain: b.chain(),
      // Columns are read in place, so they need the alignment they had when they were written.
      bytes: found.byteOffset % 8 === 0 ? found : found.slice(),
    };
  });
}

function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
