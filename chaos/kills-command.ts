import { killsHunts } from './kills-hunts.js';
import type { KillsMutant } from './kills-mutants.js';
import { type KillsReport, runKills } from './run-kills.js';
import type { SimCommandHost } from './sim-command.js';

export interface KillsCommandOptions {
  /** The first seed; more follow until there were so many kills. */
  readonly seed: number;
  readonly kills: number;
  readonly mutant?: KillsMutant | undefined;
  readonly json?: boolean;
}

/** Runs seeds of the kills scenario until enough were killed, or up to the first violation. Returns the exit code. */
export async function killsCommand(options: KillsCommandOptions, host: SimCommandHost): Promise<number> {
  const { seed, kills, mutant } = options;
  const startedMs = host.nowMs();
  const sum = { seeds: 0, kills: 0, events: 0, virtualMs: 0, lives: 0, pauses: 0, powerCuts: 0, published: 0 };
  const operations: Record<string, number> = {};
  let failed: KillsReport | undefined;
  let saidMs = startedMs;
  while (sum.kills < kills && failed === undefined) {
    const report = await runKills((seed + sum.seeds) % 2 ** 32, {
      onUnhandled: host.onUnhandled,
      ...(mutant === undefined ? {} : { mutant, wishes: killsHunts[mutant].wishes }),
    });
    sum.seeds++;
    for (const key of ['kills', 'events', 'virtualMs'] as const) sum[key] += report[key];
    for (const key of ['lives', 'pauses', 'powerCuts', 'published'] as const) sum[key] += report.counts[key];
    for (const [at, count] of report.killsAt) {
      const operation = at.split(' ')[0] as string;
      operations[operation] = (operations[operation] ?? 0) + count;
    }
    if (report.violation !== undefined) failed = report;
    const nowMs = host.nowMs();
    if (!host.isTTY && nowMs - saidMs < 5000 && failed === undefined) continue;
    saidMs = nowMs;
    host.progress(`${sum.kills} of ${kills} kills, ${sum.seeds} seeds, ${((nowMs - startedMs) / 1000).toFixed(1)} s`);
  }
  if (host.isTTY) host.progress('');
  const realMs = host.nowMs() - startedMs;
  const killsPerSecond = Math.round((sum.kills / realMs) * 1000);
  const where = Object.entries(operations).map(([operation, count]) => `${operation} ${count}`);
  if (failed !== undefined) host.out(`${failed.violation?.message}\n\n`);
  host.out(
    `${failed === undefined ? 'nothing lost, nothing leaked' : 'VIOLATION'}: ${sum.kills} kills (${where.join(', ')}) on ${sum.seeds} seeds, ${sum.published} checkpoints, ${killsPerSecond} kills/s\n`,
  );
  if (options.json === true) {
    const first = failed === undefined ? {} : { failedSeed: failed.seed, code: failed.violation?.code };
    const numbers = { ...sum, virtualMs: Math.round(sum.virtualMs), realMs: Math.round(realMs), killsPerSecond };
    host.out(`${JSON.stringify({ ok: failed === undefined, seed, ...numbers, operations, ...first })}\n`);
  }
  return failed === undefined ? 0 : 1;
}
