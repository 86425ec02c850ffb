import { type Clock, sleep } from '../base/index.js';
import {
  type BlobStore,
  type BlobStoreFaults,
  type CheckpointStore,
  DirectoryBlobStore,
  FaultyBlobStore,
  openCheckpointPlace,
} from '../checkpoint/index.js';
import { type StoredCheckpoints, storedInFolder } from './audit-checkpoints.js';
import { folderHead, type HeadPlace } from './head-watch.js';
import type { Scenario } from './scenario.js';
import type { SimFileSystem } from './sim-file-system.js';
import { SimObjectStore } from './sim-object-store.js';
import type { SimContext } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

const FOLDER = '/state/checkpoints';
/** Longer than any request is late. */
const REST_MS = 1000;

/** Where the checkpoints of a run are: in a folder of its host, or in an object store beyond. */
export class SimCheckpoints {
  readonly url: string;
  readonly head: HeadPlace;
  /** In place of S3. */
  readonly objects: SimObjectStore | undefined;
  readonly #files: SimFileSystem;
  readonly #delayMs: readonly [number, number];

  constructor(world: SimWorld, host: string, { remote, storeDelayMs: delayMs }: Scenario) {
    this.#files = world.host(host).disk.files;
    this.#delayMs = delayMs;
    this.objects = remote && new SimObjectStore(world, { delayMs, lateRate: remote.lateRate });
    this.url = this.objects === undefined ? FOLDER : 's3://simulated/checkpoints';
    this.head = this.objects ?? folderHead(this.#files, FOLDER);
  }

  /** As the scheduler opens it, with what can be done to it from then on. */
  async open(context: SimContext): Promise<{ readonly blobs: BlobStore; readonly faults: BlobStoreFaults }> {
    const { clock, disk, random, logger } = context;
    if (this.objects !== undefined) {
      const parts = { disk, clock, random, logger, remote: this.objects.of(context) };
      const { store } = await openCheckpointPlace({ url: this.url }, parts);
      return { blobs: store, faults: this.objects.faults };
    }
    const inner = await DirectoryBlobStore.open({ disk, root: FOLDER, random });
    const blobs = new FaultyBlobStore({ inner, clock, random, faults: { delayMs: this.#delayMs } });
    return { blobs, faults: blobs.faults };
  }

  /** When the job has ended and nobody reads what is stored any more: after it there is only what HEAD refers to. */
  async collectLast(store: CheckpointStore, clock: Clock): Promise<void> {
    if (this.objects !== undefined) {
      // What a merge puts whose job has ended meanwhile, perhaps late, is left to the next leader.
      await sleep(clock, REST_MS);
      await store.takeOver();
    }
    await store.collect();
  }

  /** All that is stored, for whoever audits it. */
  stored(): StoredCheckpoints {
    return this.objects ?? storedInFolder(this.#files, FOLDER);
  }
}
