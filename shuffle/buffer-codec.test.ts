import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory, MillraceError, systemClock } from '../base/index.js';
import { codecOf } from './buffer-codec.js';
import { openLocalShuffle } from './local-shuffle.js';
import { TEST_SETTINGS } from './settings.test.support.js';

const lz4 = codecOf('lz4');
assert.ok(lz4 !== undefined);

test('what lz4 makes smaller comes back as it was', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), fc.nat(200), (bytes, times) => {
      const raw = Buffer.concat(Array.from({ length: times }, () => bytes));
      const compressed = lz4.compress(raw);
      if (compressed === undefined) return;
      assert.ok(compressed.length < raw.length);
      assert.deepEqual(Buffer.from(lz4.decompress(compressed, raw.length)), raw);
    }),
  );
});

test('what is no lz4 of so many bytes is an error, not a crash', () => {
  const compressed = lz4.compress(new Uint8Array(1000)) as Uint8Array;
  assert.throws(() => lz4.decompress(compressed, 999));
  assert.throws(() => lz4.decompress(compressed.subarray(0, 3), 1000));
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 4, maxLength: 100 }), fc.nat(100_000), (bytes, length) => {
      try {
        assert.equal(lz4.decompress(bytes, length).length, length);
      } catch (e) {
        assert.ok(e instanceof Error);
      }
    }),
  );
});

test('zstd is there, or is refused by name', () => {
  try {
    const zstd = codecOf('zstd');
    const compressed = zstd?.compress(new Uint8Array(1000)) as Uint8Array;
    assert.deepEqual(zstd?.decompress(compressed, 1000), new Uint8Array(1000));
    assert.throws(() => zstd?.decompress(compressed.subarray(0, 5), 1000));
  } catch (e) {
    assert.ok(e instanceof MillraceError && e.code === 'COMPRESSION_UNAVAILABLE', String(e));
  }
});

test('a compressed partition takes less memory', async () => {
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings: TEST_SETTINGS });
  const partitions = (['none', 'lz4'] as const).map(
    (compression) =>
      ({
        partition: compression,
        type: 'pipelined',
        subpartitions: 1,
        broadcast: false,
        consumers: 1,
        compression,
      }) as const,
  );
  const descriptor = { writer: 'w', epoch: 1, partitions };
  await shuffle.master.register(descriptor);
  const writer = await shuffle.environment.openWriter(descriptor);
  for (const partition of writer.partitions) partition.emit(0, new Uint8Array(10_000), 1);
  writer.publish(new Uint8Array(0));
  const [plain, packed] = (await shuffle.master.list())[0]?.partitions ?? [];
  assert.equal(plain?.retainedBytes, 10_000);
  assert.ok((packed?.retainedBytes ?? 10_000) < 1000);
  await shuffle.close();
});
