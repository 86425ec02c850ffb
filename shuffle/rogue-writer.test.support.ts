import { mappedMemory, systemClock } from '../base/index.js';
import { noDoorbell } from './doorbell.js';
import { FrameLog } from './frame-log.js';
import { LocalEnvironment } from './local-environment.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { BUFFER_BARRIER, type TaskWriter, type WriterDescriptor } from './spi.js';
import { TaskLog } from './task-log.js';

/** Where a rogue stops itself with SIGSTOP, in the step of that number. */
export type HaltingPoint =
  | 'never'
  | 'amid staging'
  | 'between copy and index record'
  | 'before publish'
  | 'between check and frame'
  | 'before the compare-and-swap';

export interface RoguePlan {
  readonly halt: HaltingPoint;
  readonly step: number;
  /** So many buffers are staged on top after waking, before the publication: more than there is memory for. */
  readonly greed: number;
}

let woken = false;
let armed: HaltingPoint = 'never';

// A process that publishes as fast as it can and never looks at anything but its own publications:
//   node rogue-writer FOLDER DESCRIPTOR [PLAN]
// When it is fenced it tries on for a while, says what it believes to have published, and ends; with a plan only when
// it is told to, or killed.
const [folder, descriptor, plan] = process.argv.slice(2) as [string, string, string | undefined];
if (folder !== undefined) await run(folder, JSON.parse(descriptor), plan === undefined ? undefined : JSON.parse(plan));

async function run(folder: string, descriptor: WriterDescriptor, plan?: RoguePlan): Promise<void> {
  const environment = new LocalEnvironment({
    memory: mappedMemory({ folder }),
    clock: systemClock(),
    doorbell: noDoorbell(),
    settings: TEST_SETTINGS,
  });
  const writer = await environment.openWriter(descriptor);
  process.send?.({ opened: true });
  const halt = halter(plan);
  let code: string | undefined;
  for (let seq = 0; code === undefined; seq++) {
    while (!writer.available) await writer.whenAvailable(1);
    code = publishStep(writer, seq, plan?.step === seq ? halt : () => {}, plan?.greed ?? 0);
  }
  for (let again = 0; again < 50; again++) publishStep(writer, 7777 + again, () => {}, plan?.greed ?? 0);
  const { position } = writer;
  const end = async (): Promise<void> => {
    await environment.close();
    process.disconnect();
  };
  if (plan === undefined) process.send?.({ code, position }, end);
  else process.once('message', end).send?.({ code, position });
}

/** A step of one buffer each for two subpartitions; the code of the error it ended in, if it did. */
function publishStep(
  writer: TaskWriter,
  seq: number,
  halt: (at: HaltingPoint) => void,
  greed: number,
): string | undefined {
  const [partition] = writer.partitions;
  try {
    partition?.emit(0, numberedBytes(seq), 1);
    halt('amid staging');
    if (armed === 'between copy and index record') onNextCall(TaskLog.prototype, 'writeRecord', stop);
    partition?.emit(1, numberedBytes(seq), 1);
    halt('before publish');
    if (woken) stageMore(writer, greed);
    if (armed === 'between check and frame') onNextCall(FrameLog.prototype, 'append', stop);
    if (armed === 'before the compare-and-swap') onNextCall(TaskLog.prototype, 'publish', stop);
    writer.publish(new Uint8Array(0));
    return undefined;
  } catch (e) {
    return (e as { code?: string }).code ?? String(e);
  }
}

/** A zombie that has a lot to say; memory may run out on it. */
function stageMore(writer: TaskWriter, buffers: number): void {
  try {
    for (let i = 0; i < buffers; i++) {
      writer.partitions[0]?.emit(i % 2, new Uint8Array(3000).fill(0xee), 1);
      if (i % 16 === 0) writer.partitions[0]?.event(BUFFER_BARRIER, new Uint8Array(200).fill(0xee));
    }
  } catch (e) {
    if ((e as { code?: string }).code !== 'SHUFFLE_MEMORY_FULL') throw e;
  }
}

function halter(plan: RoguePlan | undefined): (at: HaltingPoint) => void {
  return (at) => {
    if (plan?.halt === at) stop();
    else if (at === 'amid staging') armed = plan?.halt ?? 'never';
  };
}

function stop(): void {
  armed = 'never';
  process.kill(process.pid, 'SIGSTOP');
  // Another thread of this process may have taken the signal: this one stops a moment later.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  woken = true;
}

function onNextCall<K extends string>(prototype: Record<K, unknown>, method: K, before: () => void): void {
  const original = prototype[method] as (...args: unknown[]) => unknown;
  prototype[method] = function (this: unknown, ...args: unknown[]) {
    prototype[method] = original;
    before();
    return original.apply(this, args);
  };
}
