import type { ShuffleSettings } from '../../shuffle/index.js';

/**
 * How much may wait in a channel. A barrier stands in line behind it, so this bounds how long a checkpoint takes while
 * tasks are busy: with the service's default of 4 MiB a channel, sixteen channels held 2.6 million of the main job's rows
 * and checkpoints took seconds. Daemon and clients use the same.
 */
export const SHUFFLE_SETTINGS: Partial<ShuffleSettings> = {
  unconsumedBytesMax: 256 * 1024,
  unconsumedBuffersMax: 64,
};
