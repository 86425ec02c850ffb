import { test } from 'node:test';
import fc from 'fast-check';
import { hasStopped } from './machine.test.support.js';
import { StateWorld } from './state-world.test.support.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

type Command =
  | { readonly do: 'change'; readonly times: number }
  | { readonly do: 'barrier'; readonly lost: boolean }
  | { readonly do: 'complete' | 'abort' | 'rollBack'; readonly which: number }
  | { readonly do: 'completeUnheard'; readonly which: number; readonly powerCut: boolean }
  | { readonly do: 'crash'; readonly powerCut: boolean }
  /** `crashAfter` writes, unless it is undefined; `meanwhile`: others work while it folds. */
  | {
      readonly do: 'fold' | 'hydrate';
      readonly crashAfter: number | undefined;
      readonly powerCut: boolean;
      readonly meanwhile: boolean;
    }
  | { readonly do: 'elsewhere'; readonly checkpoints: number }
  | { readonly do: 'rescale'; readonly tasks: number }
  | { readonly do: 'takeOver' | 'keepView' };

const rarely = (n: number) => fc.nat(n).map((value) => value === 0);
const which = fc.nat(3);
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('change' as const), times: fc.nat(12) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('barrier' as const), lost: rarely(8) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('complete' as const), which }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('fold' as const, 'fold' as const, 'hydrate' as const),
      crashAfter: fc.option(fc.nat(12), { nil: undefined }),
      powerCut: fc.boolean(),
      meanwhile: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('abort' as const, 'rollBack' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('completeUnheard' as const), which, powerCut: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), powerCut: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('elsewhere' as const), checkpoints: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rescale' as const), tasks: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('takeOver' as const, 'keepView' as const) }) },
);

/** Runs something that the process may die in; `false` when it did. */
async function survives(run: () => Promise<unknown>): Promise<boolean> {
  try {
    await run();
    return true;
  } catch (thrown) {
    if (hasStopped(thrown)) return false;
    throw thrown;
  }
}

async function runCommand(world: StateWorld, command: Command): Promise<void> {
  switch (command.do) {
    case 'change':
      return world.change(command.times);
    case 'barrier':
      return world.barrier(command.lost);
    case 'complete':
      return world.complete(command.which, true);
    case 'completeUnheard':
      await world.complete(command.which, false);
      return world.crash(command.powerCut);
    case 'abort':
      return world.abort(command.which);
    case 'rollBack':
      return world.rollBack(command.which);
    case 'crash':
      return world.crash(command.powerCut);
    case 'elsewhere':
      return world.elsewhere(command.checkpoints);
    case 'rescale':
      return world.rescale(command.tasks);
    case 'takeOver':
      return world.takeOver();
    case 'keepView':
      return world.keepView();
    default: {
      const { folder, clock, machine } = world;
      let turn = 0;
      if (command.meanwhile) {
        clock.onWait = async () => {
          turn++;
          if (turn % 3 === 0) world.change(2);
          if (turn % 3 === 1) await survives(() => world.barrier(turn % 5 === 0));
          if (turn % 3 === 2) await survives(() => world.complete(0, true));
          await world.check();
          await world.checkKeptViews();
        };
      }
      if (command.crashAfter !== undefined) machine.stopAfter(command.crashAfter);
      const alive = await survives(() => (command.do === 'fold' ? folder.fold() : world.hydrate()));
      clock.onWait = undefined;
      if (!alive || machine.isStopped) await world.crash(command.powerCut);
      machine.stopAfter(Number.POSITIVE_INFINITY);
    }
  }
}

test('views show exactly the completed checkpoint, whatever is folded, fetched, lost, rolled back or killed', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 40 }), fc.nat(), async (commands, seed) => {
      const world = new StateWorld(seed);
      await world.open();
      for (const command of commands) {
        await runCommand(world, command);
        await world.check();
        await world.checkKeptViews();
      }
      await world.close();
    }),
    { numRuns: 150 },
  );
});
