import { MillraceError } from '../../base/index.js';

export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;
/** 128 + SIGINT, as shells count. */
export const EXIT_INTERRUPTED = 130;

/** One clear line for any error: what went wrong, and its stable code. */
export function errorLine(thrown: unknown): string {
  const error = MillraceError.from(thrown);
  return `millrace: ${error.message.split('\n')[0]} [${error.code}]`;
}

/** Bad input is a usage error (2); what fails later is a failure (1). */
export function exitCodeOf(thrown: unknown): number {
  const error = MillraceError.from(thrown);
  return USAGE_CODES.has(error.code) ? EXIT_USAGE : EXIT_FAILURE;
}

/** What a person can mend on the command line. */
const USAGE_CODES = new Set([
  'ADDRESS_IN_USE',
  'BLOB_KEY_UNKNOWN',
  'CHECKPOINTS_EXIST',
  'CHECKPOINTS_NOT_FOUND',
  'CHECKPOINT_NOT_FOUND',
  'CHECKPOINT_STORE',
  'DURATION',
  'HEAD_WHOLE',
  'JOB_MISSING',
  'JOB_NOT_FOUND',
  'KEY_FILE',
  'MEMORY_FOLDER_IN_USE',
  'NO_DAEMON',
  'OPTION',
  'OUTPUT_AHEAD',
  'PARAM',
  'PIN_NOT_FOUND',
  'QUERY_KEY',
  'QUERY_LIMIT',
  'RESTORE_TARGET',
  'SAVEPOINT_EXISTS',
  'SAVEPOINT_INCOMPLETE',
  'SAVEPOINT_MISSING',
  'SAVEPOINT_OTHER',
  'SAVEPOINT_TARGET',
  'SHUFFLE_MODULE',
  'SPILL_DIR_IN_USE',
  'SPILL_DIR_UNUSABLE',
  'STATE_DIR_FOREIGN',
  'STATE_DIR_IN_USE',
  'STATE_DIR_OTHER_JOB',
  'STATE_DIR_VERSION',
  'STATE_STORE_MODULE',
  'STATE_UNKNOWN',
  'STORE_URL',
  'UNAUTHORIZED',
]);
