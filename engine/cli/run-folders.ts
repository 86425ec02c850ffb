import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  claimRunFolder,
  MillraceError,
  memoryBackedFolder,
  releaseRunFolder,
  sweepDeadRuns,
  systemRandom,
} from '../../base/index.js';

/** The folders of one run: one for sockets and bundles, one in memory-backed storage for mapped regions. */
export class RunFolders {
  readonly runId: string;
  readonly path: string;
  /** Undefined unless regions are to be mapped and there is a memory-backed folder for them. */
  readonly memory: string | undefined;

  private constructor(runId: string, path: string, memory: string | undefined) {
    this.runId = runId;
    this.path = path;
    this.memory = memory;
  }

  /**
   * Removes what dead runs left, then claims both folders.
   * @throws MillraceError `NO_MEMORY_FOLDER` (invalid) when the folder that was named is not memory-backed.
   */
  static claim(options: { readonly mapped: boolean; readonly memoryDir: string | undefined }): RunFolders {
    const runId = `run-${systemRandom().nonce()}`;
    sweepDeadRuns(tmpdir());
    const memoryParent = options.mapped ? memoryBackedFolder(options.memoryDir) : undefined;
    if (options.mapped && memoryParent === undefined && options.memoryDir !== undefined) {
      throw new MillraceError(
        'invalid',
        'NO_MEMORY_FOLDER',
        `${options.memoryDir} is not memory-backed (tmpfs); name one with --shm-dir, or use --shuffle wire`,
      );
    }
    if (memoryParent !== undefined) sweepDeadRuns(memoryParent);
    const path = claimRunFolder(tmpdir(), runId);
    try {
      return new RunFolders(runId, path, memoryParent === undefined ? undefined : claimRunFolder(memoryParent, runId));
    } catch (thrown) {
      releaseRunFolder(path);
      throw thrown;
    }
  }

  socket(name: string): string {
    return `unix:${join(this.path, `${name}.sock`)}`;
  }

  release(): void {
    releaseRunFolder(this.path);
    if (this.memory !== undefined) releaseRunFolder(this.memory);
  }
}
