/** The second process of the atomics probe: `node atomics-probe-main.js FOLDER REGION`. See `atomics-probe.ts`. */
import { addByCompareAndSwap, PROBE } from './atomics-probe.js';
import { mappedMemory } from './mapped-memory.js';

const DEADLINE_MS = 5000;

const [folder = '', name = ''] = process.argv.slice(2);
const memory = mappedMemory({ folder });
const shared = await memory.open(name, 'write');
const reading = await memory.open(name, 'read');

const parent = process.ppid;

/**
 * Spins: the probing side is at work at the same time, and kills this process if it takes too long. When it was killed
 * itself it cannot: this process then has another parent.
 */
function waitFor(longs: BigUint64Array, word: number): void {
  const deadline = performance.now() + DEADLINE_MS;
  while (Atomics.load(longs, word) === 0n) {
    if (process.ppid !== parent || performance.now() > deadline) process.exit(1);
  }
}

// Both pages are touched before anything is published, so that a stale private page would show.
let touched = 0;
for (const byte of reading.bytes) touched += byte;

Atomics.store(shared.longs, PROBE.ready, 1n);
addByCompareAndSwap(shared.longs, PROBE.count, PROBE.adds);
Atomics.store(shared.longs, PROBE.childDone, 1n);

waitFor(reading.longs, PROBE.published);
const payload = reading.bytes.subarray(PROBE.payloadFrom, PROBE.payloadTo);
const fresh = touched === 0 && payload.every((byte) => byte === PROBE.payloadByte);
Atomics.store(shared.longs, PROBE.verdict, fresh ? PROBE.verdictGood : PROBE.verdictStale);
