import { Worker } from 'node:worker_threads';
import { type Logger, type LogLevel, MillraceError } from '../../base/index.js';
import type { CheckpointLocation, KeyGroups } from '../../checkpoint/index.js';
import type { KeyGroupHeat, LocalRestore, OperatorSegment, ViewDescription } from '../../statestore/index.js';

/** Plain data. */
export interface StateThreadSettings {
  /** A folder of this daemon's own, on a disk. */
  readonly root: string;
  readonly bootId: string;
  readonly checkpoints: CheckpointLocation;
  readonly logLevel: LogLevel;
}

export type StateCall =
  | { readonly kind: 'hold'; readonly operator: string; readonly segment: Uint8Array }
  | {
      readonly kind: 'stored';
      readonly checkpoint: number;
      readonly epoch: number;
      readonly segments: readonly OperatorSegment[];
    }
  | { readonly kind: 'completed'; readonly checkpoint: number; readonly epoch: number }
  | { readonly kind: 'aborted'; readonly checkpoint: number }
  | { readonly kind: 'describe'; readonly operator: string; readonly heat: readonly KeyGroupHeat[] }
  | {
      readonly kind: 'restore';
      readonly operator: string;
      readonly range: KeyGroups;
      readonly segments: readonly string[];
    }
  | { readonly kind: 'distrust'; readonly operator: string }
  | { readonly kind: 'checkReaders' | 'idle' | 'close' };

export type StateReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: ReturnType<MillraceError['toJSON']> };

/** What a daemon tells of checkpoints, in the order in which it happens, and what it asks: see `HostState`. */
export interface HostStateEnd {
  hold(operator: string, segment: Uint8Array): void;
  stored(checkpoint: number, epoch: number, segments: readonly OperatorSegment[]): void;
  completed(checkpoint: number, epoch: number): void;
  aborted(checkpoint: number): void;
  describe(operator: string, heat: readonly KeyGroupHeat[]): Promise<ViewDescription | undefined>;
  restore(operator: string, range: KeyGroups, segments: readonly string[]): Promise<LocalRestore | undefined>;
  /** See `HostState.distrust`. */
  distrust(operator: string): Promise<void>;
  /** After the death of a process that may have had views open. @returns how many there were. */
  checkReaders(): Promise<number>;
  close(): Promise<void>;
}

/** Leads to the thread that answers calls (`openStateCalls`): one of this process, or the simulator's. */
export interface StatePort {
  /** Buffers in `transfer` are the other thread's from then on. */
  post(message: { readonly id: number; readonly call: StateCall }, transfer: readonly ArrayBuffer[]): void;
  /** Both before anything is posted. `gone`: the thread has ended, of whatever. */
  onReply(handler: (reply: StateReply) => void): void;
  onGone(handler: () => void): void;
  terminate(): Promise<void>;
}

/**
 * A `HostState` on a thread of its own, so that folding stalls nothing else of the daemon. When it dies, the host has no state
 * any more until the daemon starts again, and everything else goes on.
 */
export class StateThread implements HostStateEnd {
  readonly #port: StatePort;
  readonly #logger: Logger;
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  #lastId = 0;
  #isGone = false;

  constructor(port: StatePort, logger: Logger) {
    this.#port = port;
    this.#logger = logger;
    port.onReply((reply) => this.#settle(reply));
    port.onGone(() => this.#gone());
  }

  hold(operator: string, segment: Uint8Array): void {
    // A copy, which then is the thread's.
    const own = new Uint8Array(segment);
    this.#tell({ kind: 'hold', operator, segment: own }, [own.buffer]);
  }

  stored(checkpoint: number, epoch: number, segments: readonly OperatorSegment[]): void {
    this.#tell({ kind: 'stored', checkpoint, epoch, segments });
  }

  completed(checkpoint: number, epoch: number): void {
    this.#tell({ kind: 'completed', checkpoint, epoch });
  }

  aborted(checkpoint: number): void {
    this.#tell({ kind: 'aborted', checkpoint });
  }

  describe(operator: string, heat: readonly KeyGroupHeat[] = []): Promise<ViewDescription | undefined> {
    return this.#ask({ kind: 'describe', operator, heat }) as Promise<ViewDescription | undefined>;
  }

  restore(operator: string, range: KeyGroups, segments: readonly string[]): Promise<LocalRestore | undefined> {
    return this.#ask({ kind: 'restore', operator, range, segments }) as Promise<LocalRestore | undefined>;
  }

  async distrust(operator: string): Promise<void> {
    await this.#ask({ kind: 'distrust', operator });
  }

  async checkReaders(): Promise<number> {
    return (await this.#ask({ kind: 'checkReaders' })) as number;
  }

  /** Resolves when nothing is left to fold or fetch. */
  async idle(): Promise<void> {
    await this.#ask({ kind: 'idle' });
  }

  async close(): Promise<void> {
    if (!this.#isGone) await this.#ask({ kind: 'close' }).catch(() => {});
    await this.#port.terminate();
  }

  #tell(call: StateCall, transfer: readonly ArrayBuffer[] = []): void {
    this.#ask(call, transfer).catch((error) => this.#logger.debug({ error: String(error) }, 'local state'));
  }

  #ask(call: StateCall, transfer: readonly ArrayBuffer[] = []): Promise<unknown> {
    if (this.#isGone) return Promise.reject(gone());
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#waiting.set(id, { resolve, reject });
      this.#port.post({ id, call }, transfer);
    });
  }

  #settle(reply: StateReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ('error' in reply) waiting?.reject(MillraceError.fromJSON(reply.error));
    else waiting?.resolve(reply.result);
  }

  #gone(): void {
    this.#isGone = true;
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
  }
}

/** Undefined for a daemon that keeps none. */
export function openState(
  settings: Pick<StateThreadSettings, 'checkpoints' | 'logLevel'> & { readonly stateFolder?: string },
  bootId: string,
  logger: Logger,
): StateThread | undefined {
  const { stateFolder: root, checkpoints, logLevel } = settings;
  return root === undefined
    ? undefined
    : new StateThread(workerPort({ root, bootId, checkpoints, logLevel }, logger), logger);
}

function workerPort(settings: StateThreadSettings, logger: Logger): StatePort {
  const worker = new Worker(new URL('./state-thread-main.js', import.meta.url), { workerData: settings });
  worker.on('error', (error) => logger.warn({ error: String(error) }, 'the thread of local state died'));
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    onReply: (handler) => void worker.on('message', handler),
    onGone: (handler) => void worker.on('exit', handler),
    terminate: async () => void (await worker.terminate()),
  };
}

function gone(): MillraceError {
  return new MillraceError('closed', 'STATE_THREAD_LOST', 'the thread of local state is gone');
}
