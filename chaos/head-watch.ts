import { assert } from '../base/index.js';
import { decodeHead, type Head, isMoved, type Manifest } from '../checkpoint/index.js';
import type { JobGraph } from '../engine/graph/index.js';
import { taskName } from '../engine/graph/index.js';
import type { TaskPosition } from '../engine/runtime/index.js';
import type { SimFileSystem } from './sim-file-system.js';

/** Where HEAD is. */
export interface HeadPlace {
  /** Versions grow, as texts. */
  newest(): { readonly version: string; readonly bytes: Uint8Array } | undefined;
  /** Whether a power cut leaves this version. */
  isDurable(version: string): boolean;
}

/** On a disk, in a folder of a checkpoint store. */
export function folderHead(files: SimFileSystem, checkpoints: string): HeadPlace {
  const folder = `${checkpoints}/values/HEAD`;
  return {
    newest() {
      const version = files.list(folder).at(-1);
      if (version === undefined) return undefined;
      const file = files.file(`${folder}/${version}`);
      return { version, bytes: file.read(0, file.length) };
    },
    isDurable: (version) => files.isDurable(`${folder}/${version}`),
  };
}

/**
 * HEAD as it lies on the disk, or in the object store, move by move: it only goes up (12), each checkpoint in it is consistent (6), and nothing is
 * trimmed (8) or committed (7) that it did not hold before.
 */
export class HeadWatch {
  readonly #place: HeadPlace;
  readonly #graph: JobGraph;
  readonly #positions = new Map<string, TaskPosition>();
  /** Of all checkpoints that were ever complete, with the id of the first that held it. */
  readonly #transactions = new Map<string, number>();
  #head: Head | undefined;
  #version = '';
  /** The power went, and nobody had been told of the newest move. */
  #mayGoBack = false;
  checkpoints = 0;

  constructor(place: HeadPlace, graph: JobGraph) {
    this.#place = place;
    this.#graph = graph;
  }

  get latest(): Manifest | undefined {
    const latest = this.#head?.latest ?? undefined;
    assert(latest === undefined || !isMoved(latest), 'simulated jobs are small: their manifests stand in HEAD');
    return latest;
  }

  /** Takes in a move of HEAD, if there was one. Returns what is wrong with it. */
  look(): string | undefined {
    const { version, bytes } = this.#place.newest() ?? { version: '', bytes: undefined };
    if (bytes === undefined || version <= this.#version) return undefined;
    this.#version = version;
    const head = decodeHead(bytes, 'the simulated store');
    const before = this.#head;
    this.#head = head;
    const mayGoBack = this.#mayGoBack;
    this.#mayGoBack = false;
    if (!mayGoBack && before !== undefined && head.epoch < before.epoch)
      return `HEAD went from epoch ${before.epoch} to ${head.epoch}`;
    const id = head.latest?.checkpointId ?? 0;
    const idBefore = before?.latest?.checkpointId ?? 0;
    if (!mayGoBack && id < idBefore) return `HEAD went from checkpoint ${idBefore} to ${id}`;
    if (id === idBefore) return undefined;
    if (id > idBefore) this.checkpoints++;
    for (const [transaction, since] of this.#transactions) if (since > id) this.#transactions.delete(transaction);
    this.#positions.clear();
    const { latest } = this;
    if (latest === undefined) return undefined;
    for (const { task, position } of latest.tasks) this.#positions.set(task, JSON.parse(position) as TaskPosition);
    for (const { transactions } of this.#positions.values()) {
      for (const { transaction } of transactions) {
        if (!this.#transactions.has(transaction)) this.#transactions.set(transaction, id);
      }
    }
    return this.#inconsistency(latest);
  }

  /** The host is about to lose power: a move of HEAD that was not made durable, and so told nobody, may be undone. */
  powerCut(): void {
    this.#mayGoBack = !this.#place.isDurable(this.#version);
    this.#version = '';
  }

  holdsTransaction(transaction: string): boolean {
    return this.#transactions.has(transaction);
  }

  /** Why this trim is too early, if it is. Partition: `<job>/<task>/<attempt>/e<edge>`. */
  trimmedTooFar(partition: string, seqs: readonly number[]): string | undefined {
    const [edge = '', , task = ''] = partition.split('/').reverse();
    const vertex = this.#graph.vertices[Number(task.slice(1).split('.')[0])];
    const output = vertex?.outputs.findIndex(({ id }) => `e${id}` === edge) ?? -1;
    const covered = this.#positions.get(task)?.outputs[output];
    const at = seqs.findIndex((seq, subpartition) => seq > (covered?.[subpartition]?.seq ?? 0));
    if (at === -1) return undefined;
    return `${partition}[${at}] is trimmed to ${seqs[at]}, HEAD (checkpoint ${this.latest?.checkpointId ?? 0}) holds ${covered?.[at]?.seq ?? 0}`;
  }

  /** Invariant 6, from the manifest alone. */
  #inconsistency({ checkpointId, tasks }: Manifest): string | undefined {
    const finished = new Set(tasks.filter((task) => task.finished).map(({ task }) => task));
    for (const vertex of this.#graph.vertices) {
      for (let subtask = 0; subtask < vertex.parallelism; subtask++) {
        const name = taskName(vertex.id, subtask);
        const position = this.#positions.get(name);
        if (position === undefined) return `checkpoint ${checkpointId} lacks ${name}`;
        for (const input of position.inputs) {
          const edge = this.#graph.edges[input.edge];
          const producer = taskName(edge?.from ?? -1, input.producer);
          if (input.ended && finished.has(producer)) continue;
          const index = this.#graph.vertices[edge?.from ?? -1]?.outputs.findIndex(({ id }) => id === input.edge) ?? -1;
          const sub = edge?.partitioning.kind === 'hash' ? subtask : 0;
          const sent = this.#positions.get(producer)?.outputs[index]?.[sub];
          if (sent?.seq === input.seq && sent.chain === input.chain) continue;
          return `checkpoint ${checkpointId}: ${producer} stands at ${sent?.seq} (${sent?.chain}), ${name} at ${input.seq} (${input.chain})`;
        }
      }
    }
    return undefined;
  }
}
