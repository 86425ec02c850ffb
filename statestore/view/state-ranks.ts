import { compareBytes } from '../../checkpoint/index.js';

/** The order of states, which is that of their names' bytes, over sources that each number them their own way. */
export class StateRanks {
  readonly names: readonly string[];
  readonly #ranks: ReadonlyMap<string, number>;

  constructor(names: Iterable<string>) {
    const unique = [...new Set(names)].map((name) => ({ name, bytes: Buffer.from(name, 'utf8') }));
    this.names = unique.sort((a, b) => compareBytes(a.bytes, b.bytes)).map(({ name }) => name);
    this.#ranks = new Map(this.names.map((name, rank) => [name, rank]));
  }

  /** -1 for a name that is not among them. */
  of(name: string): number {
    return this.#ranks.get(name) ?? -1;
  }
}
