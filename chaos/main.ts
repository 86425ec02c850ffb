import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { killsCommand } from './kills-command.js';
import { type KillsMutant, killsMutants } from './kills-mutants.js';
import { decodeSavedPlan, type SavedPlan } from './saved-plan.js';
import {
  CHECKPOINT_PLACES,
  FAULTS,
  MUTANTS,
  type Mutant,
  SCENARIOS,
  type ScenarioKind,
  SHUFFLES,
  type SimulatedCheckpoints,
  type SimulatedShuffle,
  type SimulatedStateStore,
  STATE_STORES,
} from './scenario.js';
import { type SimCommandHost, type SimCommandOptions, simCommand } from './sim-command.js';

/** `npm run chaos`: exit code 0 when all held, 1 when something did not (with how to see it again), 2 for wrong usage. */
const whole = (text: string): number => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value >= 2 ** 32) throw new InvalidArgumentError('it must be a whole number below 2^32.');
  return value;
};
const oneOf =
  <T extends string>(names: readonly T[]) =>
  (text: string): T => {
    if (!names.includes(text as T)) throw new InvalidArgumentError(`it must be one of ${names.join(', ')}.`);
    return text as T;
  };

function readPlan(file: string): SavedPlan {
  try {
    return decodeSavedPlan(readFileSync(file, 'utf8'), file);
  } catch (thrown) {
    return program.error(`error: --plan: ${(thrown as Error).message}`);
  }
}

const program = new Command('chaos')
  .description(
    'Runs the real scheduler, workers, shuffle and checkpoints in a simulated world, does things to it, and looks whether they keep their promises.',
  )
  .requiredOption('--sim', 'in the simulator: one thread, virtual time, everything from one seed')
  .option('--seed <n>', 'the (first) seed; drawn if not given', whole)
  .option('--seeds <n>', 'how many seeds, counted up from the first', whole, 1)
  .option('--scenario <name>', `only this one: ${SCENARIOS.join(', ')}`, oneOf<ScenarioKind>(SCENARIOS))
  .option('--kills <n>', 'instead: the checkpoint store alone, until so many of its processes were killed', whole)
  .option(
    '--mutant <name>',
    `break the code on purpose, where it shows unless --scenario or --faults say where: ${MUTANTS.join(', ')}; with --kills: ${killsMutants.join(', ')}`,
    oneOf<Mutant | KillsMutant>([...MUTANTS, ...killsMutants]),
  )
  .option('--faults <kinds>', `only these faults, with commas: ${FAULTS.join(', ')}`, (text) =>
    text.split(',').map(oneOf(FAULTS)),
  )
  .option('--shuffle <kind>', `only over ${SHUFFLES.join(' or ')} shuffle`, oneOf<SimulatedShuffle>(SHUFFLES))
  .option(
    '--state-store <kind>',
    `only with state in ${STATE_STORES.join(' or ')}`,
    oneOf<SimulatedStateStore>(STATE_STORES),
  )
  .option(
    '--checkpoints <place>',
    `only with checkpoints in ${CHECKPOINT_PLACES.join(' or ')}`,
    oneOf<SimulatedCheckpoints>(CHECKPOINT_PLACES),
  )
  .option('--plan <file>', 'instead of seeds: one run from a saved plan')
  .option('--no-shrink', 'leave a failing run as it is; else it is made smaller, and its plan is kept')
  .option('--json', 'one JSON object on the last line of the output')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse();
type Options = Omit<SimCommandOptions, 'seed' | 'mutant' | 'plan'> & {
  plan?: string;
  seed?: number;
  kills?: number;
  mutant?: Mutant | KillsMutant;
};
const { kills, mutant, plan: planFile, ...options } = program.opts<Options>();
const plan = planFile === undefined ? {} : { plan: readPlan(planFile) };
const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
const host: SimCommandHost = {
  out: (text) => void process.stdout.write(text),
  progress: (text) => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`),
  isTTY: process.stderr.isTTY === true,
  nowMs: () => performance.now(),
  save(name, text) {
    const path = join(tmpdir(), name);
    writeFileSync(path, text);
    return path;
  },
  onUnhandled(handler) {
    process.on('unhandledRejection', handler);
    return () => void process.off('unhandledRejection', handler);
  },
};
const isKillsMutant = (name: Mutant | KillsMutant): name is KillsMutant => killsMutants.includes(name as KillsMutant);
if (mutant !== undefined && isKillsMutant(mutant) !== (kills !== undefined)) {
  program.error(`error: --mutant ${mutant} goes ${kills === undefined ? 'with' : 'without'} --kills`);
}
process.exitCode =
  kills === undefined
    ? await simCommand(
        { ...options, ...plan, seed, ...(mutant === undefined ? {} : { mutant: mutant as Mutant }) },
        host,
      )
    : await killsCommand({ seed, kills, mutant: mutant as KillsMutant | undefined, json: options.json === true }, host);
