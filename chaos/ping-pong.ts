import { MillraceError, sleep } from '../base/index.js';
import type { SimContext } from './sim-process.js';
import { SimWorld } from './sim-world.js';

/**
 * Three processes on three hosts that send numbers around, log them to disk and count in shared memory; whoever dies is
 * started again. It touches every simulated part and means nothing: for tests of the simulator and to measure it.
 */
export function pingPongWorld(seed: number, options: { readonly restart?: boolean } = {}): SimWorld {
  const world = new SimWorld({ seed, skewMsMax: 100 });
  const names = ['a', 'b', 'c'];
  const start = (name: string) => {
    const process = world.spawn(name, `host-${name}`, (context) => play(context, names));
    if (options.restart === false) return;
    process.onExit(undefined, () => void world.clock.at(100, 'restart', () => start(name)));
  };
  for (const name of names) start(name);
  return world;
}

async function play(context: SimContext, names: readonly string[]): Promise<void> {
  const { name, network, clock, memory, disk, random, logger } = context;
  await memory.create('count', 4096).catch(() => undefined);
  const { longs } = await memory.open('count', 'write');
  await network.listen(`ws://host-${name}:1/`, (connection) => {
    connection.onFrame((frame) => {
      longs[1] = Atomics.add(longs, 0, 1n);
      connection.send(frame);
    });
    connection.onClose(() => {});
  });
  const log = async (): Promise<never> => {
    const file = await disk.append('/log');
    for (;;) {
      await file.append(new Uint8Array(random.below(200)));
      if (random.chance(0.1)) await file.sync();
      await sleep(clock, 5);
    }
  };
  const logging = async (): Promise<never> => {
    for (;;) {
      await log().catch((error: unknown) => logger.warn({ error }, 'the log failed'));
      await sleep(clock, 50);
    }
  };
  void logging();
  const other = names[(names.indexOf(name) + 1) % names.length];
  for (;;) {
    try {
      await playWith(context, `ws://host-${other}:1/`);
    } catch (error) {
      logger.info({ error: MillraceError.from(error) }, 'lost the other');
      await sleep(clock, 20);
    }
  }
}

/** Until the connection ends. */
async function playWith({ network, random }: SimContext, address: string): Promise<void> {
  const connection = await network.connect(address);
  const next = () => connection.send(new Uint8Array(1 + random.below(100)));
  await new Promise<void>((_, reject) => {
    connection.onFrame(next);
    connection.onClose((reason) => reject(reason ?? new MillraceError('unavailable', 'CONNECTION_LOST', 'closed')));
    for (let i = 0; i < 8; i++) next();
  });
}
