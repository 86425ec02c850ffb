import type { SimFileSystem } from './sim-file-system.js';
import type { RowStamp, SimulatedOutput } from './simulated-job.js';

const FINAL = /^part-\d+-\d+\.jsonl$/;

/** What is wrong with the output. */
export interface OutputFault {
  readonly code: 'OUTPUT_WRONG' | 'STAMPS_FORKED';
  readonly message: string;
}

/**
 * The committed output as an outsider sees it: at every moment a part of what is expected of each sink, no row twice, no file
 * changed or gone once it was there; at the end all of it (invariant 10). What user code stamped has one stamp everywhere.
 */
export class OutputWatch {
  readonly #folders: readonly FolderWatch[];

  constructor(files: SimFileSystem, outputs: readonly SimulatedOutput[]) {
    const stamps = new Map<string, Met>();
    this.#folders = outputs.map((output) => new FolderWatch(files, output, stamps));
  }

  /** Looks at what is new. Returns what is wrong with it. */
  look(): OutputFault | undefined {
    for (const folder of this.#folders) {
      const fault = folder.look();
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  /** The host is about to lose power. What was not durable may be gone then, and is committed again. */
  powerCut(): void {
    for (const folder of this.#folders) folder.powerCut();
  }

  /** Rows committed so far. */
  get lines(): number {
    return this.#folders.reduce((sum, { lines }) => sum + lines, 0);
  }

  /** How many expected rows are not there yet. */
  get missing(): number {
    return this.#folders.reduce((sum, { missing }) => sum + missing, 0);
  }
}

/** What is wrong with all the lines that a sink has committed when the job has ended. */
export function wholeOutputFault(output: SimulatedOutput, lines: readonly string[]): OutputFault | undefined {
  const expected = [...output.expected].sort();
  const found = lines.map((line) => output.takeStamps?.(line).line ?? line).sort();
  if (found.length === expected.length && found.every((line, i) => line === expected[i])) return undefined;
  return wrong(`${output.folder} has ${found.length} rows in the end, ${expected.length} are right`);
}

/** A stamp, and where it was met first. */
interface Met {
  readonly stamp: string;
  readonly path: string;
}

/** One sink's folder. */
class FolderWatch {
  readonly #files: SimFileSystem;
  readonly #output: SimulatedOutput;
  /** Of all folders. */
  readonly #stamps: Map<string, Met>;
  readonly #missing = new Map<string, number>();
  readonly #seen = new Map<string, number>();
  /** Files whose names the next power cut may take: nobody was told that they are there. */
  #doubtful = new Map<string, readonly string[]>();
  lines = 0;

  constructor(files: SimFileSystem, output: SimulatedOutput, stamps: Map<string, Met>) {
    this.#files = files;
    this.#output = output;
    this.#stamps = stamps;
    for (const line of output.expected) this.#missing.set(line, (this.#missing.get(line) ?? 0) + 1);
  }

  /** Looks at what is new. Returns what is wrong with it. */
  look(): OutputFault | undefined {
    const { folder } = this.#output;
    const names = this.#files.list(folder).filter((name) => FINAL.test(name));
    for (const [name, bytes] of this.#seen) {
      const now = this.#files.stat(`${folder}/${name}`)?.bytes;
      if (now === undefined && this.#takeBack(name)) continue;
      if (now !== bytes) return wrong(`${folder}/${name} had ${bytes} bytes and has ${now ?? 'gone'}`);
    }
    for (const name of names) {
      if (this.#seen.has(name)) continue;
      const path = `${folder}/${name}`;
      this.#seen.set(name, this.#files.file(path).length);
      const fault = this.#take(path, this.#textOf(path));
      if (fault !== undefined) return fault;
    }
    this.#doubtful.clear();
    return undefined;
  }

  /** What was stamped keeps its stamp: a checkpoint holds what is committed, so the same bytes come again. */
  powerCut(): void {
    const { folder } = this.#output;
    const doubtful = [...this.#seen.keys()].filter((name) => !this.#files.isDurable(`${folder}/${name}`));
    const linesOf = (name: string) => this.#textOf(`${folder}/${name}`).slice(0, -1).split('\n');
    this.#doubtful = new Map(doubtful.map((name) => [name, linesOf(name).map((line) => this.#unstamped(line).line)]));
  }

  /** How many expected rows are not there yet. */
  get missing(): number {
    let sum = 0;
    for (const count of this.#missing.values()) sum += count;
    return sum;
  }

  #takeBack(name: string): boolean {
    const lines = this.#doubtful.get(name);
    for (const line of lines ?? []) this.#missing.set(line, (this.#missing.get(line) ?? 0) + 1);
    this.lines -= lines?.length ?? 0;
    return lines !== undefined && this.#seen.delete(name);
  }

  #textOf(path: string): string {
    const file = this.#files.file(path);
    return new TextDecoder().decode(file.read(0, file.length));
  }

  #unstamped(whole: string): { readonly line: string; readonly stamps: readonly RowStamp[] } {
    return this.#output.takeStamps?.(whole) ?? { line: whole, stamps: [] };
  }

  #take(path: string, text: string): OutputFault | undefined {
    if (!text.endsWith('\n')) return wrong(`${path} ends in half a line`);
    for (const whole of text.slice(0, -1).split('\n')) {
      const { line, stamps } = this.#unstamped(whole);
      const forked = this.#compareStamps(path, stamps);
      if (forked !== undefined) return forked;
      const left = this.#missing.get(line);
      if (left === undefined) return wrong(`${path} has a row that is not expected: ${line}`);
      if (left === 0) return wrong(`${path} has a row once more than expected: ${line}`);
      this.#missing.set(line, left - 1);
      this.lines++;
    }
    return undefined;
  }

  #compareStamps(path: string, stamps: readonly RowStamp[]): OutputFault | undefined {
    for (const { of, stamp } of stamps) {
      const met = this.#stamps.get(of);
      if (met === undefined) this.#stamps.set(of, { stamp, path });
      else if (met.stamp !== stamp) {
        const message = `invariant 10: ${of} was stamped ${met.stamp} in ${met.path}, and ${stamp} in ${path}`;
        return { code: 'STAMPS_FORKED', message };
      }
    }
    return undefined;
  }
}

function wrong(what: string): OutputFault {
  return { code: 'OUTPUT_WRONG', message: `invariant 10: ${what}` };
}
