import { MillraceError } from './errors.js';

const NAME_CHARS_MAX = 150;
/** The largest ArrayBuffer of Node 20. Asking koffi for a view of more ends the process. */
export const REGION_BYTES_MAX = 2 ** 32;

/** What every SharedMemory refuses, in the same words. */
export function checkRegionRequest(name: string, byteLength: number): void {
  if (name.length === 0 || name.length > NAME_CHARS_MAX) {
    throw new MillraceError(
      'invalid',
      'MEMORY_NAME_INVALID',
      `memory region name of ${name.length} characters: "${name}"`,
    );
  }
  if (!Number.isSafeInteger(byteLength) || byteLength <= 0 || byteLength > REGION_BYTES_MAX || byteLength % 8 !== 0) {
    throw new MillraceError(
      'invalid',
      'MEMORY_SIZE_INVALID',
      `memory region "${name}" of ${byteLength} bytes: a size must be a multiple of 8 between 8 and ${REGION_BYTES_MAX}`,
    );
  }
}

export function memoryExists(name: string, where: string): MillraceError {
  return new MillraceError('invalid', 'MEMORY_EXISTS', `memory region "${name}" exists already in ${where}`, {
    context: { region: name, where },
  });
}

export function memoryNotFound(name: string, where: string): MillraceError {
  return new MillraceError('unavailable', 'MEMORY_NOT_FOUND', `no memory region "${name}" in ${where}`, {
    context: { region: name, where },
  });
}

export function memoryFull(
  name: string,
  byteLength: number,
  where: string,
  freeBytes: number,
  advice: string,
): MillraceError {
  return new MillraceError(
    'unavailable',
    'MEMORY_FULL',
    `${where} has ${freeBytes} bytes free, but memory region "${name}" needs ${byteLength}: ${advice}`,
    { context: { region: name, where, freeBytes, neededBytes: byteLength } },
  );
}
