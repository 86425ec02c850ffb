import type { SimFileSystem } from './sim-file-system.js';
import type { SimulatedOutput } from './simulated-job.js';

const FINAL = /^part-\d+-\d+\.jsonl$/;

/**
 * The committed output as an outsider sees it: at every moment a part of what is expected of each sink, no row twice, no file
 * changed or gone once it was there; at the end all of it (invariant 10).
 */
export class OutputWatch {
  readonly #folders: readonly FolderWatch[];

  constructor(files: SimFileSystem, outputs: readonly SimulatedOutput[]) {
    this.#folders = outputs.map(({ folder, expected }) => new FolderWatch(files, folder, expected));
  }

  /** Looks at what is new. Returns what is wrong with it. */
  look(): string | undefined {
    for (const folder of this.#folders) {
      const wrong = folder.look();
      if (wrong !== undefined) return wrong;
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

/** One sink's folder. */
class FolderWatch {
  readonly #files: SimFileSystem;
  readonly #folder: string;
  readonly #missing = new Map<string, number>();
  readonly #seen = new Map<string, number>();
  /** Files whose names the next power cut may take: nobody was told that they are there. */
  #doubtful = new Map<string, readonly string[]>();
  lines = 0;

  constructor(files: SimFileSystem, folder: string, expected: readonly string[]) {
    this.#files = files;
    this.#folder = folder;
    for (const line of expected) this.#missing.set(line, (this.#missing.get(line) ?? 0) + 1);
  }

  /** Looks at what is new. Returns what is wrong with it. */
  look(): string | undefined {
    const names = this.#files.list(this.#folder).filter((name) => FINAL.test(name));
    for (const [name, bytes] of this.#seen) {
      const now = this.#files.stat(`${this.#folder}/${name}`)?.bytes;
      if (now === undefined && this.#takeBack(name)) continue;
      if (now !== bytes) return `${this.#folder}/${name} had ${bytes} bytes and has ${now ?? 'gone'}`;
    }
    for (const name of names) {
      if (this.#seen.has(name)) continue;
      this.#seen.set(name, this.#files.file(`${this.#folder}/${name}`).length);
      const wrong = this.#take(name, this.#textOf(name));
      if (wrong !== undefined) return wrong;
    }
    this.#doubtful.clear();
    return undefined;
  }

  powerCut(): void {
    const doubtful = [...this.#seen.keys()].filter((name) => !this.#files.isDurable(`${this.#folder}/${name}`));
    this.#doubtful = new Map(doubtful.map((name) => [name, this.#textOf(name).slice(0, -1).split('\n')]));
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

  #textOf(name: string): string {
    const file = this.#files.file(`${this.#folder}/${name}`);
    return new TextDecoder().decode(file.read(0, file.length));
  }

  #take(name: string, text: string): string | undefined {
    if (!text.endsWith('\n')) return `${this.#folder}/${name} ends in half a line`;
    for (const line of text.slice(0, -1).split('\n')) {
      const left = this.#missing.get(line);
      if (left === undefined) return `${this.#folder}/${name} has a row that is not expected: ${line}`;
      if (left === 0) return `${this.#folder}/${name} has a row once more than expected: ${line}`;
      this.#missing.set(line, left - 1);
      this.lines++;
    }
    return undefined;
  }
}
