import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeDeployment,
  decodeTaskCommand,
  decodeTaskEvent,
  encodeDeployment,
  encodeTaskCommand,
  encodeTaskEvent,
  pack,
} from './control-codec.js';
import { segment, taskPosition, u32, u53, u64 } from './control-messages.test.support.js';
import type { TaskCommand, TaskDeployment, TaskEvent } from './deployment.js';
import { TaskCommandT } from './generated/millrace/control/task-command.js';
import { TaskEventT } from './generated/millrace/control/task-event.js';

fc.configureGlobal({ includeErrorInReport: true });

const flat = { noNullPrototype: true };
const base = { task: fc.string(), attempt: u32 };

const deployment: fc.Arbitrary<TaskDeployment> = fc.record(
  {
    ...base,
    vertex: u32,
    subtask: u32,
    writer: fc.string(),
    epoch: u32,
    partitions: fc.array(
      fc.record(
        {
          partition: fc.string(),
          type: fc.constant('pipelined' as const),
          subpartitions: u32,
          broadcast: fc.boolean(),
          consumers: u32,
        },
        flat,
      ),
      { maxLength: 4 },
    ),
    channels: fc.array(
      fc.record(
        {
          edge: u32,
          producer: u32,
          descriptor: fc.record(
            {
              partition: fc.string(),
              subpartition: u32,
              consumer: u32,
              from: fc.record({ seq: u53, chain: u64 }, flat),
            },
            flat,
          ),
          watermark: fc.oneof(fc.constantFrom(Number.NEGATIVE_INFINITY, Number.MAX_SAFE_INTEGER), fc.maxSafeInteger()),
          ended: fc.boolean(),
        },
        flat,
      ),
      { maxLength: 6 },
    ),
    restore: fc.option(
      fc.record(
        { position: taskPosition, segments: fc.array(segment, { maxLength: 4 }), finished: fc.boolean() },
        flat,
      ),
      { nil: undefined },
    ),
    minCheckpoint: u53,
  },
  flat,
);

const event: fc.Arbitrary<TaskEvent> = fc.oneof(
  fc.record({ ...base, kind: fc.constantFrom('running' as const, 'done' as const) }, flat),
  fc.record(
    {
      ...base,
      kind: fc.constant('acknowledged' as const),
      checkpoint: u53,
      position: taskPosition,
      held: fc.boolean(),
    },
    flat,
  ),
  fc.record({ ...base, kind: fc.constant('finished' as const), position: taskPosition }, flat),
  fc.record({ ...base, kind: fc.constant('failed' as const), error: fc.string({ unit: 'grapheme' }) }, flat),
  fc.record({ ...base, kind: fc.constant('declined' as const), checkpoint: u53 }, flat),
);

const command: fc.Arbitrary<TaskCommand> = fc.oneof(
  fc.record({ ...base, kind: fc.constantFrom('trigger' as const, 'aborted' as const), checkpoint: u53 }, flat),
  fc.record({ ...base, kind: fc.constant('completed' as const), checkpoint: u53, finished: fc.boolean() }, flat),
  fc.record({ ...base, kind: fc.constant('cancel' as const) }, flat),
);

/** Round trip; and nothing but CONTROL_CORRUPT comes of bytes that were cut or changed. */
function codec<T>(
  name: string,
  values: fc.Arbitrary<T>,
  encode: (value: T) => Uint8Array,
  decode: (bytes: Uint8Array) => T,
): void {
  test(`${name}: what is encoded is what is decoded`, () => {
    fc.assert(fc.property(values, (value) => assert.deepEqual(decode(encode(value)), value)));
  });

  test(`${name}: cut short or damaged it is CONTROL_CORRUPT`, () => {
    const broken = fc
      .tuple(values, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean())
      .map(([value, n, flip, cut]) => {
        const bytes = encode(value).slice();
        const at = n % bytes.length;
        if (cut) return bytes.subarray(0, at);
        bytes[at] = (bytes[at] as number) ^ flip;
        return bytes;
      });
    fc.assert(
      fc.property(broken, (bytes) => assert.throws(() => decode(bytes), { kind: 'corrupt', code: 'CONTROL_CORRUPT' })),
      { numRuns: 500 },
    );
    assert.throws(() => decode(new Uint8Array(0)), { code: 'CONTROL_CORRUPT' });
    assert.throws(() => decode(Uint8Array.of(1, 2, 3)), { code: 'CONTROL_CORRUPT' });
  });
}

codec('a deployment', deployment, encodeDeployment, decodeDeployment);
codec('a task event', event, encodeTaskEvent, decodeTaskEvent);
codec('a task command', command, encodeTaskCommand, decodeTaskCommand);

test('kinds of a newer version are refused', () => {
  assert.throws(() => decodeTaskEvent(pack(new TaskEventT('v0.0', 1, 99))), { code: 'CONTROL_CORRUPT', message: /99/ });
  assert.throws(() => decodeTaskCommand(pack(new TaskCommandT('v0.0', 1, 99))), {
    code: 'CONTROL_CORRUPT',
    message: /99/,
  });
});
