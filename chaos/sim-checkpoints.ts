import {
  type BlobStore,
  type BlobStoreFaults,
  type CheckpointStore,
  DirectoryBlobStore,
  FaultyBlobStore,
  type Manifest,
  openCheckpointPlace,
  readPins,
} from '../checkpoint/index.js';
import { folderHead, type HeadPlace } from './head-watch.js';
import type { Scenario } from './scenario.js';
import type { SimFileSystem } from './sim-file-system.js';
import { SimObjectStore } from './sim-object-store.js';
import type { SimContext } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

const FOLDER = '/state/checkpoints';

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

  /** Objects that nothing refers to after a collection, when the job has ended. */
  async leaked(store: CheckpointStore, blobs: BlobStore): Promise<string[]> {
    // What a merge puts whose job has ended meanwhile is left to the next leader.
    if (this.objects !== undefined) await store.takeOver();
    await store.collect();
    const [latest, ...older] = store.checkpointIds;
    const manifests: Pick<Manifest, 'tasks'>[] =
      latest === undefined || store.latest === undefined ? [] : [store.latest];
    for (const id of older) manifests.push(await store.manifest(id));
    // What a host still reads where it is stored; it lets go when it has all, or ends.
    for (const { manifest } of await readPins(blobs)) manifests.push(manifest);
    const refs = manifests.flatMap(({ tasks }) => tasks.flatMap(({ segments }) => segments));
    const referenced = new Set(refs.map(({ object }) => object));
    return this.#segments().filter((name) => !referenced.has(name));
  }

  #segments(): string[] {
    if (this.objects !== undefined) return this.objects.names('segments/');
    const root = `${FOLDER}/objects/`;
    const names = this.#files.paths(`${root}segments/`).map((path) => path.slice(root.length));
    // Marks of the store itself are no objects.
    return names.filter((name) => !name.includes('/.'));
  }
}
