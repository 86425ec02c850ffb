import { pathToFileURL } from 'node:url';
import { MillraceError } from '../../base/index.js';
import type { JobDefinition, JobParams } from '../api/index.js';
import { type JobGraph, planJob } from '../graph/index.js';

/** Which job a worker runs: its bundle, and what it is built with. Equal in every process of a run. */
export interface JobArtefact {
  /** Absolute path of the bundled job file (an ES module). */
  readonly bundle: string;
  readonly params: JobParams;
  readonly parallelism: number;
}

/**
 * Loads a bundled job and plans it. The same artefact gives the same graph in every process.
 * @throws MillraceError `JOB_FAILED` (invalid) when the file throws, `JOB_MISSING` (invalid) when it exports no job.
 */
export async function loadJob(artefact: JobArtefact): Promise<JobGraph> {
  const definition = await importJob(artefact.bundle);
  try {
    return planJob(definition.build(artefact.params), artefact.parallelism);
  } catch (thrown) {
    throw jobFailed(thrown);
  }
}

async function importJob(bundle: string): Promise<JobDefinition> {
  let module: { readonly default?: unknown };
  try {
    module = (await import(pathToFileURL(bundle).href)) as { readonly default?: unknown };
  } catch (thrown) {
    throw jobFailed(thrown);
  }
  const exported = module.default as Partial<JobDefinition> | undefined;
  if (exported?.kind !== 'millrace-job' || typeof exported.build !== 'function') {
    throw new MillraceError(
      'invalid',
      'JOB_MISSING',
      "the job file has no default export made with job('name', (j) => ...)",
    );
  }
  return exported as JobDefinition;
}

function jobFailed(thrown: unknown): MillraceError {
  if (thrown instanceof MillraceError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MillraceError('invalid', 'JOB_FAILED', `the job file failed: ${message.split('\n')[0]}`, {
    cause: thrown,
  });
}
