import { nodeByteFiles, silentLogger, systemRandom } from '../../base/index.js';
import { type BlobStore, CheckpointStore } from '../../checkpoint/index.js';
import { FOUND, lmdbBaseStores, RemoteState, type StateFolder, StateView } from '../../statestore/index.js';
import { openMachineFolder } from './machine-folder.js';

/** A key as `SyntheticState` has it: of a group, by position. */
export function syntheticKey(keyGroup: number, at: number): Uint8Array {
  const key = new Uint8Array(20);
  const view = new DataView(key.buffer);
  view.setUint32(0, keyGroup);
  view.setUint32(16, at);
  return key;
}

/** A host without any state: an empty folder, and the checkpoints of a store. */
export class EmptyHost {
  readonly folder: StateFolder;
  readonly #bases = lmdbBaseStores();

  private constructor(folder: StateFolder) {
    this.folder = folder;
  }

  static async open(root: string): Promise<EmptyHost> {
    return new EmptyHost(await openMachineFolder(root));
  }

  /** From HEAD to the value of one key. */
  async read(store: BlobStore, keyGroup: number, key: Uint8Array): Promise<void> {
    const { latest } = await CheckpointStore.open({ store, random: systemRandom(), logger: silentLogger() });
    if (latest === undefined) throw new Error('there is no checkpoint to restore');
    const parts = latest.tasks.map(({ segments }) => {
      const [ref] = segments;
      if (ref === undefined) throw new Error('a task has no segment');
      return { range: { first: ref.first, last: ref.last }, segments };
    });
    const remote = new RemoteState({ store, line: latest, parts });
    const range = { first: 0, last: parts.at(-1)?.range.last ?? 0 };
    const files = nodeByteFiles();
    const view = await StateView.open(this.folder.describe(), { bases: this.#bases, files, range, remote });
    await view.ready(keyGroup, key);
    if (view.table('counts').find(keyGroup, key, new Uint8Array(0)) !== FOUND) throw new Error('the key is not found');
    await view.close();
  }
}
