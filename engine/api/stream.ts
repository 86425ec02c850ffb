import type { RowOf, Schema } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { Sink } from '../connectors/index.js';
import { EDGE_LIMITS, type EdgeLimits, type Partitioning, type StreamEdge, type StreamGraph } from '../graph/index.js';
import {
  type Aggregate,
  BroadcastJoin,
  EventTime,
  FilterRows,
  MapRows,
  type OperatorFactory,
  type TimeAttribute,
  TopRows,
  WindowAggregate,
} from '../operators/index.js';
import { type Duration, durationMs } from './duration.js';

/** A stream's place in the graph, and what is known of its rows. */
interface StreamState<S extends Schema> {
  readonly graph: StreamGraph;
  readonly node: number;
  readonly schema: S;
  readonly time: TimeAttribute | undefined;
  /** Of the edges by which others read it. */
  readonly limits?: EdgeLimits;
}

/** Names of the columns of type `T`, nullable or not. */
type ColumnsOf<S extends Schema, T extends string> = {
  [K in keyof S & string]: S[K] extends T | `${T}?` ? K : never;
}[keyof S & string];

/** Columns of both sides, less the table's join column. */
export type Joined<S extends Schema, T extends Schema, C extends keyof T> = S & Omit<T, C>;

const FORWARD: Partitioning = { kind: 'forward' };

/** An unbounded or bounded stream of rows with the columns of `S`. Describes only; nothing runs here. */
export class Stream<S extends Schema> {
  readonly #state: StreamState<S>;

  constructor(state: StreamState<S>) {
    this.#state = state;
  }

  /** Rows carry their event time in `column`, and come at most `outOfOrder` late. */
  eventTime<C extends ColumnsOf<S, 'timestamp' | 'int64'>>(
    column: C,
    options: { readonly outOfOrder: Duration },
  ): Stream<S> {
    const outOfOrderMs = durationMs(options.outOfOrder);
    const create = () => new EventTime(column, outOfOrderMs);
    return this.#then(`eventTime(${column})`, create, this.#state.schema, { column, minusMs: 0 });
  }

  /** One row out for each row in, with the columns of `schema`. The result keeps its event time if it keeps that column. */
  map<const T extends Schema>(schema: T, map: (row: RowOf<S>) => RowOf<T>): Stream<T> {
    const { time } = this.#state;
    const kept = time !== undefined && schema[time.column] === this.#state.schema[time.column] ? time : undefined;
    return this.#then('map', () => new MapRows(map as never), schema, kept);
  }

  /** Only the rows for which `keep` is true. */
  filter(keep: (row: RowOf<S>) => boolean): Stream<S> {
    return this.#then('filter', () => new FilterRows(keep as never), this.#state.schema, this.#state.time);
  }

  /**
   * How far rows of this stream may be held up on their way to the tasks that read it: `bufferTimeout`, so long they wait
   * at most for a buffer to fill ('100ms' by default; less is sooner and dearer); `maxLag`, bytes that a channel's reader may
   * be behind before this stream has to wait. Between operators chained into one task there is nothing to hold up.
   */
  edge(options: { readonly bufferTimeout?: Duration; readonly maxLag?: number }): Stream<S> {
    const { bufferTimeout, maxLag } = options;
    if (maxLag !== undefined && (!Number.isSafeInteger(maxLag) || maxLag < 1)) {
      throw new MillraceError('invalid', 'EDGE_LAG', `edge: maxLag ${maxLag} is not a number of bytes (1 or more)`);
    }
    const before = this.#state.limits ?? EDGE_LIMITS;
    const bufferTimeoutMs = bufferTimeout === undefined ? before.bufferTimeoutMs : durationMs(bufferTimeout);
    return new Stream({ ...this.#state, limits: { bufferTimeoutMs, maxLagBytes: maxLag ?? before.maxLagBytes } });
  }

  /** Rows with equal values in these columns go to the same subtask. */
  keyBy<K extends keyof S & string>(...columns: readonly [K, ...K[]]): KeyedStream<S, K> {
    for (const column of columns) requireColumn(this.#state.schema, column, 'keyBy');
    return new KeyedStream(this.#state, columns);
  }

  /** This stream as a table that every subtask of its reader holds whole. It must end. */
  broadcast(): BroadcastTable<S> {
    const { node, schema, limits = EDGE_LIMITS } = this.#state;
    return { kind: 'broadcast', node, schema, limits };
  }

  /** Each row with the table's rows whose `tableColumn` equals its `column`; rows without a match are left out. The table is read first. */
  join<T extends Schema, C extends keyof T & string>(
    table: BroadcastTable<T>,
    column: keyof S & string,
    tableColumn: C,
  ): Stream<Joined<S, T, C>> {
    requireColumn(this.#state.schema, column, 'join');
    requireColumn(table.schema, tableColumn, 'join');
    const { [tableColumn]: _, ...rest } = table.schema;
    for (const name of Object.keys(rest)) {
      if (name in this.#state.schema) {
        throw new MillraceError(
          'invalid',
          'COLUMN_TWICE',
          `join: both sides have a column '${name}'; rename one with map()`,
        );
      }
    }
    const schema = { ...this.#state.schema, ...rest } as unknown as Joined<S, T, C>;
    const node = this.#state.graph.add({
      name: `join(${column})`,
      body: { kind: 'operator', create: () => new BroadcastJoin(column, tableColumn) },
      inputs: [edgeFrom(this.#state, FORWARD), { ...edgeFrom(table, { kind: 'broadcast' }), buildFirst: true }],
      schema,
    });
    return new Stream({ graph: this.#state.graph, node, schema, time: this.#state.time });
  }

  /** Ends the stream in a sink, which sees each row exactly once. */
  to(sink: Sink): void {
    this.#state.graph.add({
      name: sink.name,
      body: { kind: 'sink', sink },
      inputs: [edgeFrom(this.#state, FORWARD)],
      schema: this.#state.schema,
    });
  }

  #then<T extends Schema>(
    name: string,
    create: OperatorFactory,
    schema: T,
    time: TimeAttribute | undefined,
  ): Stream<T> {
    const node = this.#state.graph.add({
      name,
      body: { kind: 'operator', create },
      inputs: [edgeFrom(this.#state, FORWARD)],
      schema,
    });
    return new Stream({ graph: this.#state.graph, node, schema, time });
  }
}

/** What `broadcast()` gives: something to join with. */
export interface BroadcastTable<S extends Schema> {
  readonly kind: 'broadcast';
  readonly node: number;
  readonly schema: S;
  readonly limits: EdgeLimits;
}

/** How one stream reads another. */
function edgeFrom(
  { node, limits = EDGE_LIMITS }: { readonly node: number; readonly limits?: EdgeLimits },
  partitioning: Partitioning,
): StreamEdge {
  return { from: node, partitioning, limits, buildFirst: false };
}

/** A stream partitioned by the columns `K`. */
export class KeyedStream<S extends Schema, K extends keyof S & string> {
  readonly #state: StreamState<S>;
  readonly #keys: readonly K[];

  constructor(state: StreamState<S>, keys: readonly K[]) {
    this.#state = state;
    this.#keys = keys;
  }

  /** Groups each key's rows by event time. */
  window(window: TumblingWindow): WindowedStream<S, K> {
    return new WindowedStream(this.#state, this.#keys, requireTime(this.#state, 'window'), window);
  }

  /**
   * The `limit` rows of each key with the largest (`order: 'asc'`: smallest) `by`, among rows of the same event time,
   * best first, once that time has passed. `ties` decide between equals, ascending.
   */
  top(
    limit: number,
    options: {
      readonly by: keyof S & string;
      readonly order?: 'desc' | 'asc';
      readonly ties?: readonly (keyof S & string)[];
    },
  ): Stream<S> {
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new MillraceError('invalid', 'TOP_LIMIT', `top: ${limit} is not a number of rows (1 or more)`);
    }
    const { by, order = 'desc', ties = [] } = options;
    for (const column of [by, ...ties]) requireColumn(this.#state.schema, column, 'top');
    const time = requireTime(this.#state, 'top');
    const keys = this.#keys;
    return keyedNode(this.#state, keys, `top(${limit} by ${by})`, this.#state.schema, time, () => {
      return new TopRows({ keys, time, limit, by, order, ties });
    });
  }
}

/** Windows of equal length, aligned to 1970, that do not overlap. */
export interface TumblingWindow {
  readonly kind: 'tumbling';
  readonly sizeMs: number;
}

export function tumbling(size: Duration): TumblingWindow {
  const sizeMs = durationMs(size);
  if (sizeMs < 1) throw new MillraceError('invalid', 'WINDOW_SIZE', `a window of ${size} holds nothing`);
  return { kind: 'tumbling', sizeMs };
}

/** Columns of a windowed aggregation: the keys, the window, the aggregates. */
export type Aggregated<S extends Schema, K extends keyof S & string, A extends Readonly<Record<string, Aggregate>>> = {
  readonly [C in K]: S[C];
} & { readonly windowStart: 'timestamp'; readonly windowEnd: 'timestamp' } & { readonly [N in keyof A]: A[N]['type'] };

export class WindowedStream<S extends Schema, K extends keyof S & string> {
  readonly #state: StreamState<S>;
  readonly #keys: readonly K[];
  readonly #time: TimeAttribute;
  readonly #window: TumblingWindow;

  constructor(state: StreamState<S>, keys: readonly K[], time: TimeAttribute, window: TumblingWindow) {
    this.#state = state;
    this.#keys = keys;
    this.#time = time;
    this.#window = window;
  }

  /** One row per key and window, when event time passes the window's end. Its event time is that end. */
  aggregate<A extends Readonly<Record<string, Aggregate<RowOf<S>>>>>(aggregates: A): Stream<Aggregated<S, K, A>> {
    const schema: Record<string, string> = {};
    for (const key of this.#keys) schema[key] = this.#state.schema[key] as string;
    for (const name of ['windowStart', 'windowEnd', ...Object.keys(aggregates)]) {
      if (name in schema)
        throw new MillraceError('invalid', 'COLUMN_TWICE', `aggregate: there are two columns named '${name}'`);
      schema[name] = aggregates[name]?.type ?? 'timestamp';
    }
    for (const { column } of Object.values(aggregates)) {
      if (column !== undefined) requireColumn(this.#state.schema, column, 'aggregate');
    }
    const options = {
      keys: this.#keys,
      time: this.#time,
      sizeMs: this.#window.sizeMs,
      aggregates: aggregates as never,
    };
    const time: TimeAttribute = { column: 'windowEnd', minusMs: 1 };
    return keyedNode(this.#state, this.#keys, `window(${this.#window.sizeMs} ms)`, schema as never, time, () => {
      return new WindowAggregate(options);
    });
  }
}

function keyedNode<T extends Schema>(
  state: StreamState<Schema>,
  columns: readonly string[],
  name: string,
  schema: T,
  time: TimeAttribute,
  create: OperatorFactory,
): Stream<T> {
  const node = state.graph.add({
    name,
    body: { kind: 'operator', create },
    inputs: [edgeFrom(state, { kind: 'hash', columns })],
    schema,
  });
  return new Stream({ graph: state.graph, node, schema, time });
}

function requireTime(state: StreamState<Schema>, what: string): TimeAttribute {
  if (state.time !== undefined) return state.time;
  throw new MillraceError(
    'invalid',
    'NO_EVENT_TIME',
    `${what}: the stream has no event time; call .eventTime(column, ...) before it`,
  );
}

function requireColumn(schema: Schema, column: string, what: string): void {
  if (column in schema) return;
  throw new MillraceError(
    'invalid',
    'COLUMN_MISSING',
    `${what}: there is no column '${column}' (there are: ${Object.keys(schema).join(', ')})`,
  );
}
