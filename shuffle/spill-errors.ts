import { MillraceError } from '../base/index.js';

/** The errors of spilled storage. */

/** No disk is left. `disks`: each folder with what happened to it. */
export function spillUnavailable(disks: readonly string[]): MillraceError {
  const message = `no disk is left to spill to: ${disks.join('; ')}`;
  return new MillraceError('unavailable', 'SPILL_UNAVAILABLE', message, { context: { disks: disks.join('; ') } });
}

export function spillFull(wanted: number, why: string, cause?: unknown): MillraceError {
  const message = `no room to spill ${wanted} bytes: ${why}`;
  return new MillraceError('unavailable', 'SPILL_FULL', message, { cause, context: { wanted } });
}

/** The object store did not do what it was asked. Trying again may help. */
export function objectsUnavailable(name: string, why: string, cause?: unknown): MillraceError {
  const message = `object ${name} cannot be reached: ${why}`;
  return new MillraceError('unavailable', 'SPILL_OBJECTS_UNAVAILABLE', message, { cause, context: { name } });
}

export function spillClosed(): MillraceError {
  return new MillraceError('closed', 'SPILL_CLOSED', 'the store of spilled regions was closed');
}
