/** Starts and stops the processes of a cluster; the simulator stands in for the operating system. */
export interface ProcessControl {
  /**
   * Starts a role of Millrace with settings that it receives as JSON before it runs.
   * @throws MillraceError `SPAWN_FAILED` (unavailable).
   */
  spawn(role: 'daemon' | 'worker', name: string, settings: unknown): Promise<ProcessHandle>;
}

export interface ProcessHandle {
  readonly name: string;
  /** Operating-system id; 0 where the role runs inside this process. */
  readonly pid: number;
  /** Resolves when the process is gone, however it ended. Never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** `kill` is SIGKILL: no code of the process runs after it. `stop` asks for a clean end (SIGTERM). */
  signal(kind: 'kill' | 'stop' | 'pause' | 'resume'): void;
}

export interface ProcessExit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
}
