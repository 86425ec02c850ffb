import type { Random } from '../base/index.js';
import type { Content, KeySpace } from './kills-content.js';

interface Snapshot {
  readonly checkpointId: number;
  readonly position: string;
  /** Number of the change before which it was taken. */
  readonly at: number;
}

export interface Taken extends Snapshot {
  readonly bytes: Uint8Array;
}

/**
 * A task as far as checkpoints go: keyed content that changes, and a delta of it for each checkpoint. It gives out again what
 * changed since the newest checkpoint that it knows to be complete, as nothing newer may ever become so.
 */
export class KillsTask {
  readonly name: string;
  readonly attempt: number;
  readonly #space: KeySpace;
  readonly #random: Random;
  readonly #valueBytesMax: number;
  readonly #content: (string | undefined)[];
  /** Positions that changed, with the number of their last change. */
  readonly #changed = new Map<number, number>();
  #changes = 0;
  #snapshots: Snapshot[];
  #snapshotsTaken = 0;

  /** `position`: of the snapshot that it was restored from. */
  constructor(options: {
    readonly name: string;
    readonly attempt: number;
    readonly space: KeySpace;
    readonly random: Random;
    readonly valueBytesMax: number;
    readonly content: Content;
    readonly position: string;
  }) {
    this.name = options.name;
    this.attempt = options.attempt;
    this.#space = options.space;
    this.#random = options.random;
    this.#valueBytesMax = options.valueBytesMax;
    this.#content = [...options.content];
    this.#snapshots = [{ checkpointId: 0, position: options.position, at: 0 }];
  }

  /** Snapshots that are not known to be complete or given up, oldest first. */
  get pending(): readonly Snapshot[] {
    return this.#snapshots.slice(1);
  }

  get content(): Content {
    return this.#content;
  }

  /** Whether it may go on where HEAD has this snapshot of it as the newest. */
  goesOnFrom(position: string): boolean {
    return this.#snapshots.some((s) => s.position === position);
  }

  /** Some random puts and removes. */
  work(): void {
    const changes = this.#random.below(Math.max(3, this.#space.size / 4));
    for (let i = 0; i < changes; i++) {
      const position = this.#random.below(this.#space.size);
      const isValue = position === this.#space.size - 1;
      // What is not keyed is replaced, never removed.
      const value = !isValue && this.#random.chance(0.3) ? undefined : this.#value();
      this.#content[position] = value;
      this.#changed.set(position, ++this.#changes);
    }
  }

  take(checkpointId: number, full: boolean): Taken {
    const position = `${this.name}@${this.attempt}.${++this.#snapshotsTaken}`;
    const positions = [...this.#changed.keys()].sort((a, b) => a - b);
    const bytes = this.#space.build(checkpointId, this.#content, positions, full);
    const snapshot = { checkpointId, position, at: this.#changes };
    this.#snapshots.push(snapshot);
    return { ...snapshot, bytes };
  }

  /** The snapshot is in HEAD: what it holds need not be given out again. */
  completed(position: string): void {
    const at = this.#snapshots.findIndex((s) => s.position === position);
    if (at === -1) return;
    this.#snapshots = this.#snapshots.slice(at);
    const covered = (this.#snapshots[0] as Snapshot).at;
    for (const [key, change] of this.#changed) if (change <= covered) this.#changed.delete(key);
  }

  #value(): string {
    const isLarge = this.#random.chance(0.0005);
    const bytes = isLarge ? 20_000 + this.#random.below(60_000) : this.#random.below(this.#valueBytesMax + 1);
    return `${this.attempt}.${this.#changes}`.padEnd(bytes, '-');
  }
}
