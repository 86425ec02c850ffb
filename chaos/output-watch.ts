import type { SimFileSystem } from './sim-file-system.js';

const FINAL = /^part-\d+-\d+\.jsonl$/;

/**
 * The committed output as an outsider sees it: at every moment a part of what is expected, no row twice, no file changed
 * or gone once it was there; at the end all of it (invariant 10).
 */
export class OutputWatch {
  readonly #files: SimFileSystem;
  readonly #folder: string;
  readonly #missing = new Map<string, number>();
  readonly #seen = new Map<string, number>();
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
      if (now !== bytes) return `${name} had ${bytes} bytes and has ${now ?? 'gone'}`;
    }
    for (const name of names) {
      if (this.#seen.has(name)) continue;
      const file = this.#files.file(`${this.#folder}/${name}`);
      this.#seen.set(name, file.length);
      const wrong = this.#take(name, new TextDecoder().decode(file.read(0, file.length)));
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  }

  /** How many expected rows are not there yet. */
  get missing(): number {
    let sum = 0;
    for (const count of this.#missing.values()) sum += count;
    return sum;
  }

  #take(name: string, text: string): string | undefined {
    if (!text.endsWith('\n')) return `${name} ends in half a line`;
    for (const line of text.slice(0, -1).split('\n')) {
      const left = this.#missing.get(line);
      if (left === undefined) return `${name} has a row that is not expected: ${line}`;
      if (left === 0) return `${name} has a row once more than expected: ${line}`;
      this.#missing.set(line, left - 1);
      this.lines++;
    }
    return undefined;
  }
}
