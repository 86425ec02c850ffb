import type { SegmentState, StoredSegment } from '../../checkpoint/index.js';
import { describeStates } from '../segment/segment-format.js';
import { decodeTtlRecord, type TtlRecord } from '../states/expiry.js';
import { ownerOf } from '../states/operator-owners.js';
import { fingerprintOf, parseSchema, type StateSchema } from '../states/state-schema.js';

/** One task of a checkpoint: its segments, oldest first, with their indexes. */
export interface OpenedTask {
  readonly task: string;
  readonly segments: readonly StoredSegment[];
}

/** A state as one task has it. */
export interface TaskState {
  readonly task: OpenedTask;
  /** Names of its tables in the segments: one; of aggregates one for each set of them. */
  readonly tables: readonly string[];
  readonly ttl: TtlRecord | undefined;
  /** Of what is not keyed: the owner's value. */
  readonly values: readonly { readonly name: string; readonly value: Uint8Array }[];
}

/** A state of the job: what is known of it without reading entries. */
export interface CatalogState {
  /** As the job's operators name it: `n3/seen`. */
  readonly name: string;
  /** A kind of `KeyedStates` or `OperatorStates`, or one of the SPI's tables where nothing more is known. */
  readonly kind: StateSchema['kind'] | 'lanes' | 'bytes' | 'timers' | 'operator';
  /** By the fingerprint of the values' shape. */
  readonly schemas: ReadonlyMap<number, StateSchema>;
  readonly tasks: readonly TaskState[];
}

interface Gathered {
  kind: CatalogState['kind'] | undefined;
  readonly schemas: Map<number, StateSchema>;
  readonly tasks: Map<
    string,
    { task: OpenedTask; tables: Set<string>; ttl: TtlRecord | undefined; values: Map<string, Uint8Array> }
  >;
}

/**
 * All states in a checkpoint's segments, sorted by name. What belongs to a state (its schemas, its TTL, the tables of its
 * aggregates, the values of its owners) is known by its name (`state-schema.ts`).
 */
export function catalogOf(tasks: readonly OpenedTask[]): CatalogState[] {
  const states = new Map<string, Gathered>();
  for (const task of tasks) for (const state of newestStates(task)) gather(states, task, state);
  return [...states]
    .flatMap(([name, { kind, schemas, tasks: of }]) => {
      if (kind === undefined) return [];
      const held = [...of.values()].map(({ task, tables, ttl, values }) => ({
        task,
        tables: [...tables],
        ttl,
        values: [...values].map(([value, bytes]) => ({ name: value, value: bytes })),
      }));
      return [{ name, kind, schemas, tasks: held }];
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Of each state the newest value; none where it was removed. */
function newestStates({ segments }: OpenedTask): SegmentState[] {
  const newest = new Map<string, SegmentState>();
  for (const { index } of segments) {
    for (const state of index.states) {
      newest.set(state.name, { ...state, value: state.value ?? newest.get(state.name)?.value });
    }
  }
  return [...newest.values()].map((s) => (s.value?.length === 0 ? { ...s, value: undefined } : s));
}

function gather(states: Map<string, Gathered>, task: OpenedTask, { name, meta, value }: SegmentState): void {
  const of = (state: string) => {
    let gathered = states.get(state);
    if (gathered === undefined) {
      gathered = { kind: undefined, schemas: new Map(), tasks: new Map() };
      states.set(state, gathered);
    }
    let held = gathered.tasks.get(task.task);
    if (held === undefined) {
      held = { task, tables: new Set(), ttl: undefined, values: new Map() };
      gathered.tasks.set(task.task, held);
    }
    return { gathered, held };
  };
  const parsed = value === undefined ? undefined : parseSchema(name, value);
  if (parsed !== undefined) {
    const { gathered } = of(parsed.state);
    gathered.kind = parsed.schema.kind;
    gathered.schemas.set(fingerprintOf(parsed.schema.value), parsed.schema);
    return;
  }
  const ttlOf = /^(.*):ttl:\d+-\d+$/s.exec(name)?.[1];
  if (ttlOf !== undefined) {
    const { held } = of(ttlOf);
    if (value !== undefined) held.ttl = decodeTtlRecord(value);
    return;
  }
  const owner = ownerOf(name);
  if (owner !== undefined) {
    const { held } = of(owner.state);
    if (value !== undefined) held.values.set(name, value);
    return;
  }
  // A schema that was removed, or one that is older than its value: nothing of its own.
  if (/:schema:[0-9a-f]{6}$/.test(name)) return;
  const [described] = describeStates([{ name, meta, value }]);
  const lanesOf = described?.kind === 'lanes' ? /^(.*)#[0-9a-f]{6}$/s.exec(name)?.[1] : undefined;
  const { gathered, held } = of(lanesOf ?? name);
  if (described?.kind === 'operator') {
    if (value === undefined) return;
    held.values.set(name, value);
  } else {
    held.tables.add(name);
  }
  gathered.kind ??= described?.kind;
}
