import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MemoryStateStore } from '../../statestore/index.js';
import { type SuiteContext, size } from '../harness.js';
import { type Goal, type RowSpec, rowOf } from '../row.js';
import { ALL, Counting, KEY_GROUPS, userBatches } from './state-counters.js';

const GOAL: Goal = { of: 'value', reach: 2, aim: 1.4, atMost: true };
const KEY_BYTES = 8;
const COUNTER_BYTES = KEY_BYTES + 8;
const VALUE_BYTES = 100;
const LIMIT = 'Map with objects';
/** Of tables with a hundred thousand entries and more, at each so many that come in addition. */
const STEP = 4096;

/**
 * Bytes of memory for each byte of key and value, while tables grow: at its worst, right after something has grown, and on
 * average; for a Map with objects, what the heap has grown by in the end.
 */
export async function memory(context: SuiteContext): Promise<void> {
  const entries = size(context, 2_000_000, 120_000);
  context.progress('state.memory.counters');
  const counters = memoryOf((store) => counted(store, entries), COUNTER_BYTES);
  rows(
    context,
    'state.memory.counters',
    counters,
    heapOf(entries, COUNTER_BYTES, () => ({ count: 1 })),
  );
  context.progress('state.memory.values');
  const payload = KEY_BYTES + VALUE_BYTES;
  const few = size(context, 1_000_000, 120_000);
  const values = memoryOf((store) => valued(store, few), payload);
  rows(
    context,
    'state.memory.values',
    values,
    heapOf(few, payload, () => new Uint8Array(VALUE_BYTES)),
  );
}

interface Memory {
  readonly worst: number;
  readonly mean: number;
}

function rows(context: SuiteContext, name: string, { worst, mean }: Memory, limit: number): void {
  const worstSpec: RowSpec = { name, unit: 'bytes/byte', limitName: LIMIT, goal: GOAL };
  context.row(rowOf(worstSpec, [{ value: worst, limit }]));
  context.row(rowOf({ name: `${name}.mean`, unit: 'bytes/byte', limitName: LIMIT }, [{ value: mean, limit }]));
}

function memoryOf(fill: (store: MemoryStateStore) => Iterable<void>, payload: number): Memory {
  const store = new MemoryStateStore(ALL);
  const ratios: number[] = [];
  for (const _ of fill(store)) {
    const { entries, memoryBytes } = store.stats();
    if (entries >= 100_000) ratios.push(memoryBytes / (entries * payload));
  }
  return { worst: Math.max(...ratios), mean: ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length };
}

function* counted(store: MemoryStateStore, entries: number): Generator<void> {
  const counting = new Counting(store.laneTable('counts', 1));
  for (const batch of userBatches(entries)) {
    counting.batch(batch);
    yield;
  }
}

/** Each is put, then replaced by one of the same size. */
function* valued(store: MemoryStateStore, entries: number): Generator<void> {
  const table = store.byteTable('values');
  const [key, sub, value] = [new Uint8Array(KEY_BYTES), new Uint8Array(0), new Uint8Array(VALUE_BYTES)];
  const view = new DataView(key.buffer);
  for (let i = 0; i < entries * 2; i++) {
    const n = i % entries;
    const hash = Math.imul(n, 0x9e3779b1) >>> 0;
    view.setUint32(0, n);
    table.put(hash % KEY_GROUPS, hash, key, sub, value);
    if (i % STEP === 0) yield;
  }
}

function heapOf(entries: number, payload: number, makeValue: () => object): number {
  const before = heapBytes();
  const map = new Map<number, object>();
  for (let i = 0; i < entries; i++) map.set(i, makeValue());
  return (heapBytes() - before) / (map.size * payload);
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
