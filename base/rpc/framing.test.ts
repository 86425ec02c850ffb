import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { MillraceError } from '../errors.js';
import { FrameBatch, FrameReader } from './framing.js';

/** Reads a stream that arrives in chunks that end at `cuts`. */
function read(stream: Uint8Array, cuts: readonly number[], bytesMax?: number) {
  const frames: Uint8Array[] = [];
  let goodbyes = 0;
  const sink = {
    frame: (frame: Uint8Array) => frames.push(frame),
    goodbye: () => {
      goodbyes += 1;
    },
  };
  const reader = new FrameReader('the peer', sink, bytesMax);
  const ends = [...cuts.map((cut) => cut % (stream.length + 1)), stream.length].sort((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    // A copy whose source is overwritten, as a socket's receive buffer may be.
    const chunk = Uint8Array.from(stream.subarray(from, end));
    reader.push(chunk);
    chunk.fill(0xee);
    from = end;
  }
  return { frames, goodbyes, reader };
}

function written(frames: readonly Uint8Array[], takeEvery: number, goodbye: boolean): Uint8Array {
  const batch = new FrameBatch();
  const chunks: Uint8Array[] = [];
  for (const [i, frame] of frames.entries()) {
    batch.add(frame);
    if (i % takeEvery === 0) chunks.push(...batch.take());
  }
  if (goodbye) batch.addGoodbye();
  const gathered = batch.bytes;
  const rest = batch.take();
  assert.equal(Buffer.concat(rest).length, gathered);
  assert.equal(batch.bytes, 0);
  return Buffer.concat([...chunks, ...rest]);
}

describe('framing', () => {
  it('gives back the frames that were written, however the stream was cut', () => {
    const size = fc.oneof(fc.nat(40), fc.constantFrom(2047, 2048, 2049, 4095, 4096, 4097, 70_000));
    const frames = fc.array(size, { maxLength: 40 }).map((sizes) => sizes.map((n, i) => new Uint8Array(n).fill(i + 1)));
    fc.assert(
      fc.property(
        frames,
        fc.array(fc.nat()),
        fc.integer({ min: 1, max: 10 }),
        fc.boolean(),
        (sent, cuts, every, bye) => {
          const { frames: got, goodbyes, reader } = read(written(sent, every, bye), cuts);
          assert.deepEqual(got, sent);
          assert.equal(goodbyes, bye ? 1 : 0);
          assert.equal(reader.truncation, undefined);
          for (const frame of got) assert.equal(frame.byteOffset % 8, 0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('writes the length little-endian, the bytes, and a goodbye of four 0xff', () => {
    assert.deepEqual([...written([Uint8Array.of(9, 8)], 1, true)], [2, 0, 0, 0, 9, 8, 0xff, 0xff, 0xff, 0xff]);
    assert.deepEqual([...written([new Uint8Array(0x01_02_03)], 1, false).subarray(0, 4)], [3, 2, 1, 0]);
  });

  it('references a large frame instead of copying it', () => {
    const large = new Uint8Array(100_000);
    const batch = new FrameBatch();
    batch.add(Uint8Array.of(1));
    batch.add(large);
    batch.add(Uint8Array.of(2));
    const chunks = batch.take();
    assert.deepEqual(
      chunks.map((chunk) => chunk.length),
      [9, 100_000, 5],
    );
    assert.equal(chunks[1]?.buffer, large.buffer);
  });

  it('stops at a length beyond the most and names the peer', () => {
    const stream = written([Uint8Array.of(1), new Uint8Array(101), Uint8Array.of(2)], 100, false);
    assert.throws(
      () => read(stream, [], 100),
      (error: MillraceError) => {
        assert.deepEqual([error.kind, error.code], ['corrupt', 'FRAME_TOO_LARGE']);
        assert.deepEqual(error.context, { peer: 'the peer', bytes: 101, bytesMax: 100 });
        return true;
      },
    );
    assert.equal(read(written([new Uint8Array(100)], 1, false), [], 100).frames.length, 1);
  });

  it('hands on nothing after a goodbye, nor after it was stopped', () => {
    const after = Buffer.concat([written([Uint8Array.of(1)], 1, true), written([Uint8Array.of(2)], 1, false)]);
    assert.deepEqual(read(after, []).frames, [Uint8Array.of(1)]);
    const frames: Uint8Array[] = [];
    const reader: FrameReader = new FrameReader('p', {
      frame: (frame) => {
        frames.push(frame);
        reader.stop();
      },
      goodbye: () => undefined,
    });
    reader.push(written([Uint8Array.of(1), Uint8Array.of(2)], 1, false));
    assert.equal(frames.length, 1);
  });

  it('knows how much of a frame is missing', () => {
    const stream = written([new Uint8Array(10)], 1, false);
    assert.equal(read(stream.subarray(0, 3), []).reader.truncation, 'in the middle of a frame length');
    assert.match(read(stream.subarray(0, 12), []).reader.truncation ?? '', /\(8 of 10 bytes\)/);
    assert.match(read(stream.subarray(0, 4), []).reader.truncation ?? '', /\(0 of 10 bytes\)/);
  });
});
