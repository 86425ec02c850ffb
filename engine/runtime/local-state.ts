import type { ByteFiles, Logger } from '../../base/index.js';
import type { RpcPeer } from '../../base/rpc/index.js';
import type { KeyGroups, SegmentRef } from '../../checkpoint/index.js';
import {
  type BaseStores,
  type LocalRestore,
  MemoryStateStore,
  type MemoryStateStoreOptions,
  restoreSegment,
  StateView,
} from '../../statestore/index.js';
import { decodeDescription, decodeRestored, encodeRestore } from './local-state-codec.js';
import { SERVICE } from './services.js';
import type { OpenedState } from './task-environment.js';

export interface LocalStateOptions {
  readonly daemon: RpcPeer;
  readonly bases: BaseStores;
  readonly files: ByteFiles;
  readonly logger: Logger;
}

/** State of one task as its host has it, at a completed checkpoint: restored without copying it, and moved on as others complete. */
export class LocalState {
  readonly view: StateView;
  readonly #operator: string;
  readonly #options: LocalStateOptions;
  readonly #operatorStates: LocalRestore['operatorStates'];
  #isClosed = false;

  private constructor(view: StateView, operator: string, options: LocalStateOptions, restore: LocalRestore) {
    this.view = view;
    this.#operator = operator;
    this.#options = options;
    this.#operatorStates = restore.operatorStates;
  }

  /**
   * Undefined when the host does not have all of what the task starts from, or what it has cannot be read: then the segments are to
   * be fetched. `segments`: of the task, in the checkpoint that is restored.
   */
  static async open(
    operator: string,
    range: KeyGroups,
    segments: readonly SegmentRef[],
    options: LocalStateOptions,
  ): Promise<LocalState | undefined> {
    const { daemon, bases, files, logger } = options;
    const request = encodeRestore({ operator, range, segments: segments.map(({ checksum }) => checksum) });
    try {
      const restore = decodeRestored(await daemon.request(SERVICE.restoreState, request));
      if (restore === undefined) return undefined;
      const view = await StateView.open(restore.description, { bases, files, range });
      if (view.isLocal) return new LocalState(view, operator, options, restore);
      await view.close();
    } catch (error) {
      logger.warn({ operator, error: String(error) }, 'state on this host cannot be used');
    }
    return undefined;
  }

  /** What a store must load before it stands on the view. */
  restoreSegment(): Promise<Uint8Array> {
    return restoreSegment(this.view, this.#operatorStates);
  }

  /**
   * Moves the view on to the newest checkpoint that the host knows to be complete, but to none after this one.
   * @returns the one at which it is then.
   */
  async advance(checkpointMax: number): Promise<number> {
    const { daemon, logger } = this.#options;
    try {
      const body = await daemon.request(SERVICE.describeState, Buffer.from(this.#operator));
      const description = decodeDescription(body);
      if (this.#isClosed) return this.view.line.checkpointId;
      if (description !== undefined && description.line.checkpointId <= checkpointMax) this.view.advance(description);
    } catch (error) {
      // It stays where it is: that is right, only older.
      logger.info({ operator: this.#operator, error: String(error) }, 'state on this host does not go on');
    }
    return this.view.line.checkpointId;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return this.view.close();
  }
}

/**
 * A store that keeps in memory what fits, over what this host has; undefined when it does not have all that the task starts from.
 * @throws MillraceError `SEGMENT_CORRUPT`, `STATE_INCOMPATIBLE`.
 */
export async function openOnLocalState(
  operator: string,
  range: KeyGroups,
  segments: readonly SegmentRef[],
  options: LocalStateOptions,
  store: Omit<MemoryStateStoreOptions, 'cold'>,
): Promise<OpenedState | undefined> {
  const local = await LocalState.open(operator, range, segments, options);
  if (local === undefined) return undefined;
  try {
    const state = new MemoryStateStore(range, { ...store, cold: local.view });
    if (segments.length > 0) state.restore([await local.restoreSegment()]);
    const { checkpointId } = local.view.line;
    options.logger.debug({ operator, checkpoint: checkpointId, segments: segments.length }, 'on state of this host');
    return {
      state,
      async completed(checkpoint) {
        state.advanced(await local.advance(checkpoint));
        // One index at each checkpoint: what is read most is the newest, and it comes first.
        local.view.warm();
      },
      close: () => local.close(),
    };
  } catch (thrown) {
    await local.close();
    throw thrown;
  }
}
