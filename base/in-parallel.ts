import { MillraceError } from './errors.js';

/**
 * Calls `fn` for each item, at most `limit` at once, started in order; results in order. After a failure or an abort
 * nothing more is started, and it rejects only when all that was started has ended: nothing goes on behind its back.
 * @throws whatever `fn` threw first; MillraceError `STOPPED` (closed) when `signal` was aborted.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  fn: (item: T, at: number) => Promise<R>,
  signal?: AbortSignal,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let failure: { readonly thrown: unknown } | undefined;
  const work = async () => {
    while (next < items.length && failure === undefined) {
      const at = next++;
      try {
        throwIfStopped(signal);
        results[at] = await fn(items[at] as T, at);
      } catch (thrown) {
        failure ??= { thrown };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work));
  if (failure !== undefined) throw failure.thrown;
  return results;
}

/** @throws MillraceError `STOPPED` (closed). */
export function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new MillraceError('closed', 'STOPPED', 'stopped before it was done');
}
