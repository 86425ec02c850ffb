import { MillraceError } from '../base/index.js';
import {
  openStateCalls,
  type StateCall,
  type StateCallsParts,
  type StatePort,
  type StateReply,
} from '../engine/daemon/index.js';
import { simByteFiles } from './sim-byte-files.js';
import type { SimClock } from './sim-clock.js';
import type { SimContext } from './sim-process.js';

/** Between two threads of a process. */
const MESSAGE_MS = 0.02;

/** The thread of local state of a simulated daemon: what `state-thread-main.ts` is in a real one. */
export function simStatePort(
  { process, thread: own }: SimContext,
  sim: SimClock,
  settings: Parameters<typeof openStateCalls>[0],
  parts: (context: SimContext) => Pick<StateCallsParts, 'bases' | 'folderSettings' | 'remote'>,
): StatePort {
  let serve: Promise<(call: StateCall) => Promise<unknown>> | undefined;
  let onReply: (reply: StateReply) => void = () => {};
  const failed = (error: unknown) => {
    sim.trace.record(sim.timeMs, thread.name, 'state.failed', MillraceError.from(error).message);
    process.endThreadSoon(thread);
  };
  const main = async (context: SimContext) => {
    const { clock, disk, random, logger } = context;
    const files = simByteFiles(process.host.disk);
    const { name: host } = process.host;
    serve = openStateCalls(settings, { host, clock, disk, random, logger, files, ...parts(context) });
    await serve;
  };
  const thread = process.startThread(`${process.name}/state`, main, failed);
  const reply = (answer: StateReply) => {
    if (!thread.alive) return;
    const sent = structuredClone(answer);
    sim.on(own, MESSAGE_MS, 'state.reply', () => onReply(sent));
  };
  return {
    post({ id, call }, transfer) {
      if (!own.alive) return;
      const sent = structuredClone(call, { transfer: [...transfer] });
      sim.on(thread, MESSAGE_MS, 'state.call', () => {
        const answer = async (run: (call: StateCall) => Promise<unknown>) => {
          await run(sent).then(
            (result) => reply({ id, result }),
            (thrown) => reply({ id, error: MillraceError.from(thrown).toJSON() }),
          );
        };
        // One that could not open ends: nobody is answered.
        serve?.then(answer, () => {});
      });
    },
    onReply(handler) {
      onReply = handler;
    },
    onGone(handler) {
      thread.onDeath(() => void sim.on(own, MESSAGE_MS, 'state.gone', handler));
    },
    terminate() {
      process.endThreadSoon(thread);
      return new Promise((resolve) => {
        const gone = () => void sim.on(own, MESSAGE_MS, 'state.ended', resolve);
        if (thread.alive) thread.onDeath(gone);
        else gone();
      });
    },
  };
}
