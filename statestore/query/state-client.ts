import type { Value } from '../../base/columnar/index.js';
import { type ErrorKind, MillraceError } from '../../base/index.js';
import type { StateEntry } from './entries-of-key.js';
import type { StateAnswer, StateQuery, StateSummary } from './read-state.js';

export interface StateClientOptions {
  /** Of a daemon's front door: `http://host:port`. */
  readonly address: string;
  /** Of that daemon, in hex: the content of its token file. */
  readonly token: string;
  /** Ends what is under way. */
  readonly signal?: AbortSignal;
}

const KIND_OF_STATUS: Readonly<Record<number, ErrorKind>> = { 409: 'fenced', 410: 'closed', 503: 'unavailable' };

/**
 * Asks a daemon for the state of the job that it serves, as it was at the newest complete checkpoint: changes since then are not
 * in the answer, and none of it is ever undone. Each answer names its checkpoint.
 */
export class StateClient {
  readonly #options: StateClientOptions;

  constructor(options: StateClientOptions) {
    this.#options = options;
  }

  /** @throws MillraceError `NO_CHECKPOINT`, `DAEMON_UNREACHABLE` (unavailable), `UNAUTHORIZED` (invalid), `NO_DAEMON` (invalid). */
  async states(): Promise<{ readonly checkpoint: number; readonly states: readonly StateSummary[] }> {
    return (await this.#get('/state')) as { checkpoint: number; states: StateSummary[] };
  }

  /** @throws MillraceError as `states`; `STATE_UNKNOWN`, `QUERY_KEY`, `QUERY_LIMIT`, `QUERY_PARAMETER` (invalid). */
  async query({ state, key, from, to, limit }: StateQuery): Promise<StateAnswer> {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries({ key, from, to })) {
      if (value !== undefined)
        parameters.set(name, typeof value === 'string' ? value : JSON.stringify(value.map(word)));
    }
    if (limit !== undefined) parameters.set('limit', String(limit));
    return (await this.#get(`/state/${encodeURIComponent(state)}?${parameters}`)) as StateAnswer;
  }

  /** All entries of a range, asked for `limit` keys at a time. Each part is of the newest checkpoint by then. */
  async *entries(query: Omit<StateQuery, 'key'>): AsyncGenerator<StateEntry> {
    for (let from = query.from; ; ) {
      const { entries, next } = await this.query({ ...query, ...(from === undefined ? {} : { from }) });
      yield* entries;
      if (next === undefined) return;
      from = JSON.stringify(next);
    }
  }

  async #get(path: string): Promise<unknown> {
    const { address, token, signal } = this.#options;
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${address.replace(/\/$/, '')}${path}`, {
        headers: { authorization: `Bearer ${token}` },
        ...(signal === undefined ? {} : { signal }),
      });
      text = await response.text();
    } catch (thrown) {
      if (signal?.aborted === true) throw new MillraceError('closed', 'STOPPED', 'stopped', { cause: thrown });
      const { message, cause } = thrown as Error;
      const why = cause instanceof Error ? cause.message : message;
      throw new MillraceError('unavailable', 'DAEMON_UNREACHABLE', `no daemon answers at ${address}: ${why}`, {
        cause: thrown,
      });
    }
    const answer = parse(text);
    if (response.ok && answer !== undefined) return answer;
    const { code, message, context } = (answer ?? {}) as { code?: string; message?: string; context?: object };
    if (code === undefined || message === undefined || code === 'NO_SUCH_ROUTE') {
      throw new MillraceError('invalid', 'NO_DAEMON', `what answers at ${address} does not serve state`);
    }
    const kind =
      response.status === 500 ? (code.endsWith('_CORRUPT') ? 'corrupt' : 'internal') : KIND_OF_STATUS[response.status];
    throw new MillraceError(kind ?? 'invalid', code, message, { context: { ...context } });
  }
}

/** JSON has no other numbers. */
function word(value: Value): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
