/**
 * The plain, single-threaded computation of the main job's result, as a whole process:
 *
 *     node plain-flights-main.js MODULE INPUT     prints the seconds it took, without the start of the process
 *
 * MODULE is `engine/examples/index.js`: an example, and so no part of the engine's doors; INPUT is its JSON.
 */
interface Check {
  expectedFlights(input: unknown): Promise<unknown>;
}

const [module, input] = process.argv.slice(2) as [string, string];
const { expectedFlights } = (await import(module)) as Check;
const start = performance.now();
await expectedFlights(JSON.parse(input));
process.stdout.write(`${(performance.now() - start) / 1000}\n`);
