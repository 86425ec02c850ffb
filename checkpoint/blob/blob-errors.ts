import { MillraceError } from '../../base/index.js';

export function hasCode(thrown: unknown, code: string): boolean {
  return thrown instanceof MillraceError && thrown.code === code;
}

/** The store gave no answer: it is away, or nobody knows what it did. Anything else, be it a no, is an answer. */
export function isUnanswered(thrown: unknown): boolean {
  return hasCode(thrown, 'STORE_UNAVAILABLE');
}

export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
