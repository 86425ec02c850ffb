import { bootId, nodeByteFiles, nodeDisk, silentLogger, systemClock, systemRandom } from '../../base/index.js';
import { type FolderSettings, lmdbBaseStores, StateFolder } from '../../statestore/index.js';

/** A new state folder on this machine's disk, as a daemon opens it, of a job without checkpoints. */
export async function openMachineFolder(root: string, settings: Partial<FolderSettings> = {}): Promise<StateFolder> {
  const disk = nodeDisk();
  await disk.makeFolder(root);
  return StateFolder.open({
    root,
    disk,
    files: nodeByteFiles(),
    bases: lmdbBaseStores(),
    clock: systemClock(),
    random: systemRandom(),
    logger: silentLogger(),
    bootId: bootId(),
    history: { latest: undefined, kept: [] },
    settings,
  });
}
