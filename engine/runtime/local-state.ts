import { assert, type ByteFiles, type Logger } from '../../base/index.js';
import type { RpcPeer } from '../../base/rpc/index.js';
import { type BlobReader, hasCode, type KeyGroups, type SegmentRef } from '../../checkpoint/index.js';
import {
  type BaseStores,
  type LocalRestore,
  MemoryStateStore,
  type MemoryStateStoreOptions,
  RemoteState,
  restoreSegment,
  StateView,
  type ViewDescription,
} from '../../statestore/index.js';
import { decodeDescription, decodeRestored, encodeDescribe, encodeRead, encodeRestore } from './local-state-codec.js';
import { SERVICE } from './services.js';
import type { OpenedState } from './task-environment.js';

export interface LocalStateOptions {
  readonly daemon: RpcPeer;
  readonly bases: BaseStores;
  readonly files: ByteFiles;
  readonly logger: Logger;
}

/**
 * State of one task as its host has it, at a completed checkpoint: restored without copying it, and moved on as others complete. Of
 * what the host does not have yet, a task waits for the keys it comes to, and for no others.
 */
export class LocalState {
  readonly view: StateView;
  readonly #operator: string;
  readonly #options: LocalStateOptions;
  readonly #remote: RemoteState | undefined;
  readonly #states: LocalRestore['states'];
  #isClosed = false;

  private constructor(
    view: StateView,
    remote: RemoteState | undefined,
    operator: string,
    options: LocalStateOptions,
    restore: LocalRestore,
  ) {
    this.view = view;
    this.#remote = remote;
    this.#operator = operator;
    this.#options = options;
    this.#states = restore.states;
  }

  /**
   * Undefined when that is not what the task starts from, or cannot be read: then the segments are to be fetched. `segments`: of the
   * task, in the checkpoint that is restored.
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
      const { description, parts } = restore;
      const remote =
        parts.length === 0 ? undefined : new RemoteState({ store: objectsOf(daemon), line: description.line, parts });
      const view = await StateView.open(description, { bases, files, range, ...(remote && { remote }) });
      if (view.isLocal || remote !== undefined) return new LocalState(view, remote, operator, options, restore);
      await view.close();
    } catch (error) {
      logger.warn({ operator, error: String(error) }, 'state on this host cannot be used');
    }
    return undefined;
  }

  /** What a store must load before it stands on the view. */
  restoreSegment(): Promise<Uint8Array> {
    return restoreSegment(this.view, this.#states);
  }

  /**
   * Moves the view on to the newest checkpoint that the host knows to be complete, but to none after this one.
   * @returns the one at which it is then.
   */
  async advance(checkpointMax: number): Promise<number> {
    const { daemon, logger } = this.#options;
    try {
      const request = { operator: this.#operator, heat: this.#remote?.takeHeat() ?? [] };
      const description = decodeDescription(await daemon.request(SERVICE.describeState, encodeDescribe(request)));
      if (this.#isClosed) return this.view.line.checkpointId;
      if (description !== undefined && description.line.checkpointId <= checkpointMax) await this.#advance(description);
    } catch (error) {
      // It stays where it is: that is right, only older.
      logger.info({ operator: this.#operator, error: String(error) }, 'state on this host does not go on');
    }
    return this.view.line.checkpointId;
  }

  async #advance(description: ViewDescription): Promise<void> {
    try {
      this.view.advance(description);
    } catch (thrown) {
      if (!hasCode(thrown, 'VIEW_PASSED')) throw thrown;
      // The host may have begun its folder anew.
      await this.view.reopen(description);
    }
  }

  async distrust(): Promise<void> {
    const { daemon, logger } = this.#options;
    try {
      await daemon.request(SERVICE.distrustState, Buffer.from(this.#operator, 'utf8'));
    } catch (error) {
      logger.info({ operator: this.#operator, error: String(error) }, 'nobody to tell that state is damaged');
    }
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return this.view.close();
  }
}

/** The checkpoint store as the daemon reads it, so that workers need no way and no secret of their own to get there. */
function objectsOf(daemon: RpcPeer): BlobReader {
  return {
    location: 'the checkpoint store',
    async get(object, range) {
      assert(range !== undefined, 'segments are read by ranges');
      return daemon.request(SERVICE.readObject, encodeRead({ object, range }));
    },
    async forget(object) {
      await daemon.request(SERVICE.forgetObject, Buffer.from(object, 'utf8'));
    },
  };
}

/**
 * A store that keeps in memory what fits, over what this host has; undefined when that is not what the task starts from, or is seen to
 * be damaged. @throws MillraceError `STATE_INCOMPATIBLE`.
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
    const { isLocal } = local.view;
    options.logger.debug(
      { operator, checkpoint: checkpointId, segments: segments.length, isLocal },
      'on state of this host',
    );
    return {
      state,
      cold: local.view,
      async completed(checkpoint) {
        state.advanced(await local.advance(checkpoint));
        // One index at each checkpoint: what is read most is the newest, and it comes first.
        local.view.warm();
      },
      distrust: () => local.distrust(),
      close: () => local.close(),
    };
  } catch (thrown) {
    await local.close();
    // What this host has is a copy.
    if (!isDamage(thrown)) throw thrown;
    options.logger.warn({ operator, error: String(thrown) }, 'state on this host is damaged');
    await local.distrust();
    return undefined;
  }
}

/** Whether an error says that stored state is not what was written. */
export function isDamage(thrown: unknown): boolean {
  return hasCode(thrown, 'SEGMENT_CORRUPT') || hasCode(thrown, 'BASE_DAMAGED');
}
