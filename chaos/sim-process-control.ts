import { MillraceError, type ProcessControl, type ProcessExit, type ProcessHandle } from '../base/index.js';
import type { SimContext, SimMain } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

/** What a role's process runs: the real entry of a daemon or worker, over a simulated context. */
export interface SimRole {
  /** Host for a process of this name. */
  readonly host: (name: string) => string;
  readonly main: (settings: unknown, onStop: (handler: () => void) => void) => SimMain;
}

export type SimRoles = Readonly<Record<'daemon' | 'worker', SimRole>>;

/**
 * The operating system as one simulated thread sees it. Settings cross as JSON, as they do for real; `exited` resolves in
 * an event of the caller's thread. Children outlive a parent that dies.
 */
export function simProcessControl(
  world: SimWorld,
  caller: SimContext,
  roles: SimRoles,
  options: { readonly spawnMs?: readonly [number, number]; readonly failureRate?: number } = {},
): ProcessControl {
  const [minMs, maxMs] = options.spawnMs ?? [20, 120];
  return {
    spawn: (role, name, settings) =>
      new Promise((resolve, reject) => {
        if (!caller.thread.alive) return;
        const json = JSON.stringify(settings);
        const delayMs = minMs + world.random.float() * (maxMs - minMs);
        const fails = world.random.chance(options.failureRate ?? 0);
        // In an event of the world: a child that was asked for starts, whether or not the caller lives to see it.
        world.clock.at(delayMs, 'process.fork', () => {
          if (fails || world.process(name) !== undefined) {
            const error = new MillraceError('unavailable', 'SPAWN_FAILED', `cannot start ${role} ${name}`);
            world.clock.on(caller.thread, 0, 'process.failed', () => reject(error));
            return;
          }
          const stops: (() => void)[] = [];
          const { host, main } = roles[role];
          const process = world.spawn(
            name,
            host(name),
            main(JSON.parse(json), (handler) => stops.push(handler)),
          );
          const main0 = process.threads[0];
          const handle: ProcessHandle = {
            name,
            pid: process.pid,
            exited: new Promise<ProcessExit>((exited) => process.onExit(caller.thread, exited)),
            signal(kind) {
              if (!caller.thread.alive || !process.alive) return;
              if (kind === 'kill') process.kill();
              else if (kind === 'pause') process.pause();
              else if (kind === 'resume') process.resume();
              else if (main0 !== undefined) {
                world.clock.on(main0, 0, 'process.stop', () => {
                  if (stops.length === 0) process.exitWith(0);
                  for (const stop of stops) stop();
                });
              }
            },
          };
          world.clock.on(caller.thread, 0, 'process.started', () => resolve(handle));
        });
      }),
  };
}
