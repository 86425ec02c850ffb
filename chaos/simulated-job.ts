import type { JobDefinition } from '../engine/index.js';

/** Size and shape of one job's input; a function of the scenario's seed. */
export interface JobShape {
  readonly dataSeed: number;
  readonly rows: number;
  readonly keys: number;
  /** Windows that the rows' event times spread over. */
  readonly windows: number;
  /** Rows per second of virtual time over all subtasks of the stream; 0 for as fast as it goes. */
  readonly rowsPerSecond: number;
  /** Of a drawn job: what it does. */
  readonly steps?: readonly JobStep[];
}

/** One step of a drawn job: a production of the grammar with its parameters, on what earlier steps gave; or the end of one. */
export interface JobStep {
  /** A production's name, or `sink`. */
  readonly op: string;
  /** Numbers of earlier steps. */
  readonly from: readonly number[];
  /** The production's own. */
  readonly params?: unknown;
}

/** What one sink must have committed in the end: these lines, in any order. */
export interface SimulatedOutput {
  readonly folder: string;
  readonly expected: readonly string[];
  /** Of rows that user code stamped with what no replay gives again: a line without its stamps, and of what each of them is. */
  takeStamps?(line: string): { readonly line: string; readonly stamps: readonly RowStamp[] };
}

export interface RowStamp {
  readonly of: string;
  readonly stamp: string;
}

/** A job, and what a straightforward program gives for the same rows. */
export interface SimulatedJob {
  readonly definition: JobDefinition;
  readonly outputs: readonly SimulatedOutput[];
}

/** Where the jobs write, on the simulated disk. */
export const OUTPUT_FOLDER = '/out';
