import { systemClock, yieldTurn } from '../base/index.js';
import type { SimMain } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

/** Runs `main` as the one process of a host, to its end. Rejects with what it threw. */
export async function runMain(world: SimWorld, host: string, main: SimMain): Promise<void> {
  let outcome: { readonly error?: unknown } | undefined;
  world.spawn(`main-${world.processes.length}`, host, async (context) => {
    try {
      await main(context);
      outcome = {};
    } catch (error) {
      outcome = { error };
    }
    context.process.exitWith(0);
  });
  const { reason } = await world.run({ until: () => outcome !== undefined });
  if (outcome === undefined) throw new Error(`main never ended: the world is ${reason}`);
  if ('error' in outcome) throw outcome.error;
}

/** Lets the world run while `body`, which stands outside of it, goes on. Not deterministic; for contract suites only. */
export async function drive<T>(world: SimWorld, body: () => Promise<T>): Promise<T> {
  const real = systemClock();
  let done = false;
  const running = (async () => {
    while (!done) {
      await world.run();
      await yieldTurn(real);
    }
  })();
  try {
    return await body();
  } finally {
    done = true;
    await running;
  }
}
