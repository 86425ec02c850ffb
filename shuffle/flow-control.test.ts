import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { heapMemory, systemClock } from '../base/index.js';
import { openLocalShuffle } from './local-shuffle.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { BUFFER_BARRIER, type InputGate, type ShuffleEvent, type TaskWriter } from './spi.js';

const FILL_MAX = 20_000;
const NOTHING = new Uint8Array(0);
const START = { seq: 0, chain: 0n };

/** Reads what is visible now; the last barrier's number, or -1. */
function drain(gate: InputGate): number {
  let barrier = -1;
  for (let buffer = gate.poll(); buffer !== undefined; buffer = gate.poll()) {
    if (buffer.kind === BUFFER_BARRIER) barrier = buffer.bytes[0] as number;
    buffer.release();
  }
  return barrier;
}

function fill(writer: TaskWriter, bytes: Uint8Array): number {
  let written = 0;
  while (writer.available && written < FILL_MAX) {
    writer.partitions[0]?.emit(written % (writer.partitions[0]?.descriptor.subpartitions ?? 1), bytes, 1);
    writer.publish(NOTHING);
    written++;
  }
  return written;
}

const COMBINATIONS = [10, 3_000, 60_000, 200_000].flatMap((bytes) =>
  [false, true].flatMap((stalled) =>
    [false, true].flatMap((retained) => [false, true].map((crowded) => ({ bytes, stalled, retained, crowded }))),
  ),
);

for (const { bytes, stalled, retained, crowded } of COMBINATIONS) {
  const name = [
    `buffers of ${bytes}`,
    stalled ? 'one consumer stalled' : 'all consumers reading',
    retained ? 'nothing trimmed' : 'trimmed',
    crowded ? 'memory taken by another' : 'memory free',
  ].join(', ');
  test(`no deadlock: ${name}`, async () => {
    const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings: TEST_SETTINGS });
    const { master, environment } = shuffle;
    const partition = { type: 'pipelined', broadcast: false, consumers: 1 } as const;
    if (crowded) {
      const hog = { writer: 'hog', epoch: 1, partitions: [{ ...partition, partition: 'hog', subpartitions: 64 }] };
      await master.register(hog);
      assert.ok(fill(await environment.openWriter(hog), new Uint8Array(bytes)) < FILL_MAX, 'unread data pushes back');
    }
    const descriptor = { writer: 'w', epoch: 1, partitions: [{ ...partition, partition: 'p', subpartitions: 2 }] };
    await master.register(descriptor);
    const writer = await environment.openWriter(descriptor);
    const gates = await Promise.all(
      [0, 1].map((subpartition) => environment.openGate([{ partition: 'p', subpartition, consumer: 0, from: START }])),
    );
    const [first, second] = gates as [InputGate, InputGate];
    for (let round = 0; round < 40; round++) {
      fill(writer, new Uint8Array(bytes));
      // A barrier passes whatever the data does, and reaches everybody who reads.
      writer.partitions[0]?.event(BUFFER_BARRIER, new Uint8Array(40).fill(round));
      writer.publish(NOTHING);
      assert.equal(drain(first), round);
      if (!stalled) assert.equal(drain(second), round);
      if (!retained)
        await master.trim(
          'p',
          gates.map((gate) => gate.positions()[0]?.seq ?? 0),
        );
    }
    assert.equal(drain(second), stalled ? 39 : -1);
    assert.ok(writer.available, 'once all is read there is room again');
    assert.ok(fill(writer, new Uint8Array(bytes)) > 0);
    await shuffle.close();
  });
}

test('a stalled subpartition stops its writer, and no other writer', async () => {
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings: TEST_SETTINGS });
  const partition = { type: 'pipelined', broadcast: false, consumers: 1, subpartitions: 2 } as const;
  const [a, b] = await Promise.all(
    ['a', 'b'].map(async (name) => {
      const descriptor = { writer: name, epoch: 1, partitions: [{ ...partition, partition: name }] };
      await shuffle.master.register(descriptor);
      return shuffle.environment.openWriter(descriptor);
    }),
  );
  assert.ok(a && b);
  fill(a, new Uint8Array(1000));
  assert.equal(a.available, false);
  assert.equal(b.available, true);
  const [stopped, started] = [a.whenAvailable(60_000), clockless()];
  assert.equal(await Promise.race([stopped.then(() => 'woken'), started.then(() => 'asleep')]), 'asleep');
  const gate = await shuffle.environment.openGate(
    [0, 1].map((subpartition) => ({ partition: 'a', subpartition, consumer: 0, from: START })),
  );
  drain(gate);
  await stopped;
  assert.equal(a.available, true);
  await shuffle.close();
});

test('what was trimmed at the quota is reported once per trim, with the first seq that is left', async () => {
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings: TEST_SETTINGS });
  const events: ShuffleEvent[] = [];
  shuffle.master.onEvent((event) => events.push(event));
  const partition = { partition: 'p', type: 'pipelined', broadcast: false, consumers: 1, subpartitions: 2 } as const;
  await shuffle.master.register({ writer: 'w', epoch: 1, partitions: [partition] });
  const writer = await shuffle.environment.openWriter({ writer: 'w', epoch: 1, partitions: [partition] });
  const gate = await shuffle.environment.openGate(
    [0, 1].map((subpartition) => ({ partition: 'p', subpartition, consumer: 0, from: START })),
  );
  for (let round = 0; round < 100; round++) {
    fill(writer, new Uint8Array(10_000));
    drain(gate);
  }
  const degraded = events.filter((e) => e.kind === 'degraded');
  assert.equal(degraded.length, 1);
  assert.ok((degraded[0]?.firstSeq ?? 0) > 0);
  assert.equal(events.filter((e) => e.kind === 'pressure').length, 1);
  await shuffle.close();
});

function clockless(): Promise<void> {
  return new Promise((resolve) => systemClock().schedule(80, resolve));
}
