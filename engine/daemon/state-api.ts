import { MillraceError } from '../../base/index.js';
import { type FrontDoor, type HttpRequest, jsonResponse } from '../../base/rpc/index.js';
import type { StateQueries, StateQuery } from '../../statestore/index.js';

const PARAMETERS = ['key', 'from', 'to', 'limit'];

/**
 * The routes that answer with state, as it was at the newest complete checkpoint; its id stands in every answer.
 *
 *     GET /state                                  {checkpoint, states: [{name, kind, key, tasks, entries}]}
 *     GET /state/NAME?key=K                       {checkpoint, state, kind, entries}; no entry: the key has none
 *     GET /state/NAME[?from=K][&to=K][&limit=N]   the same in the order of the keys, from <= key < to; `next` is the `from` to go on with
 *
 * NAME is percent-encoded, or two segments (`n3/seen`), or what follows the slash where that is one state only. K is one bare
 * value, or the JSON array of a key's columns; a `from` or `to` may leave out the last ones. This is the job's data: it needs
 * the token. Errors are `{code, message, context}`.
 */
export function serveState(door: FrontDoor, queries: StateQueries): void {
  const answer = async (name: string, request: HttpRequest) => {
    const query = queryOf(name, request.query);
    try {
      return jsonResponse(await queries.query(query));
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      if (error.code !== 'STATE_UNKNOWN') throw error;
      return jsonResponse({ code: error.code, message: error.message, context: error.context }, 404);
    }
  };
  door.route('GET', '/state', async ({ query }) => {
    refuseOthers(query, []);
    return jsonResponse(await queries.states());
  });
  door.route('GET', '/state/:name', (request) => answer(request.params['name'] as string, request));
  door.route('GET', '/state/:node/:name', (request) =>
    answer(`${request.params['node']}/${request.params['name']}`, request),
  );
}

function queryOf(state: string, parameters: URLSearchParams): StateQuery {
  refuseOthers(parameters, PARAMETERS);
  const [key, from, to, limit] = PARAMETERS.map((name) => parameters.get(name));
  if (key != null && parameters.size > 1) throw invalid('key: it is asked for alone, or a range without it');
  if (limit != null && !/^\d{1,9}$/.test(limit))
    throw invalid(`limit: it is a whole number, not ${JSON.stringify(limit)}`);
  return {
    state,
    ...(key == null ? {} : { key }),
    ...(from == null ? {} : { from }),
    ...(to == null ? {} : { to }),
    ...(limit == null ? {} : { limit: Number(limit) }),
  };
}

/** A misspelt parameter would be a query for something else. */
function refuseOthers(parameters: URLSearchParams, known: readonly string[]): void {
  for (const name of parameters.keys()) {
    if (!known.includes(name)) {
      throw invalid(
        `${JSON.stringify(name)} is no parameter here; there ${known.length === 0 ? 'is none' : `are ${known.join(', ')}`}`,
      );
    }
    if (parameters.getAll(name).length > 1) throw invalid(`${name}: it is given more than once`);
  }
}

function invalid(message: string): MillraceError {
  return new MillraceError('invalid', 'QUERY_PARAMETER', message);
}
