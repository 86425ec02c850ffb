import { pino } from 'pino';

/** Structured log, a subset of pino's interface. Never called on a per-row path. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(bindings: object): Logger;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** JSON lines on stderr, written synchronously so that a dying process loses none. */
export function stderrLogger(level: LogLevel, bindings: object = {}): Logger {
  const destination = pino.destination({ dest: 2, sync: true });
  return pino({ level, base: bindings }, destination);
}

export function silentLogger(): Logger {
  const nothing = () => {};
  const logger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => logger };
  return logger;
}
