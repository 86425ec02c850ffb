import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MillraceError } from './errors.js';
import { mappedMemory } from './mapped-memory.js';
import { systemRandom } from './random.js';
import type { SharedRegion } from './shared-memory.js';

/**
 * The layout of the probe's region, in 64-bit words, and what both processes do with it:
 *
 *     child: maps it shared and private, touches the private page, sets READY
 *     both:  add to COUNT by compare-and-swap, each ADDS times, at the same time
 *     probing side, when both are done: fills PAYLOAD, then sets PUBLISHED
 *     child: waits for PUBLISHED through its private view, compares PAYLOAD, sets VERDICT
 */
export const PROBE = {
  bytes: 8192,
  adds: 100_000,
  payloadByte: 0x5a,
  payloadFrom: 4000,
  payloadTo: 6000,
  ready: 0,
  count: 1,
  childDone: 2,
  published: 3,
  verdict: 4,
  verdictGood: 1n,
  verdictStale: 2n,
} as const;

const TIMEOUT_MS = 5000;

/**
 * Whether mapped memory can be used between processes here: compare-and-swap on a mapped 64-bit word really is atomic,
 * and private mappings see what a writer publishes. Takes 0.1 to 0.3 s, of which this thread is blocked about 20 ms.
 * Returns undefined when all is well, or one line that says why not: then everything goes over the wire.
 */
export async function probeMappedAtomics(folder: string): Promise<string | undefined> {
  try {
    const memory = mappedMemory({ folder });
    const name = `atomics-probe-${systemRandom().nonce()}`;
    const region = await memory.create(name, PROBE.bytes);
    try {
      return await probeWithChild(folder, name, region);
    } finally {
      await memory.remove(name);
      memory.retire(region);
    }
  } catch (e) {
    return MillraceError.from(e).message;
  }
}

async function probeWithChild(folder: string, name: string, region: SharedRegion): Promise<string | undefined> {
  const { longs } = region;
  const main = fileURLToPath(new URL('./atomics-probe-main.js', import.meta.url));
  const child = spawn(process.execPath, [main, folder, name], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  let gone = false;
  const exited = new Promise<void>((resolve) => {
    const settle = () => {
      gone = true;
      resolve();
    };
    child.once('close', settle);
    child.once('error', settle);
  });
  try {
    const until = async (word: number): Promise<string | undefined> => {
      const deadline = performance.now() + TIMEOUT_MS;
      while (Atomics.load(longs, word) === 0n) {
        if (gone) return `the second process of the atomics probe died: ${stderr.trim().split('\n').at(-1) ?? ''}`;
        if (performance.now() > deadline) return `the second process of the atomics probe took over ${TIMEOUT_MS} ms`;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return undefined;
    };
    const startFailure = await until(PROBE.ready);
    if (startFailure !== undefined) return startFailure;
    addByCompareAndSwap(longs, PROBE.count, PROBE.adds);
    const addFailure = await until(PROBE.childDone);
    if (addFailure !== undefined) return addFailure;
    const [expected, counted] = [2 * PROBE.adds, Number(longs[PROBE.count])];
    if (counted !== expected) return `compare-and-swap across processes lost updates: ${counted} of ${expected}`;
    region.bytes.fill(PROBE.payloadByte, PROBE.payloadFrom, PROBE.payloadTo);
    Atomics.store(longs, PROBE.published, 1n);
    const readFailure = await until(PROBE.verdict);
    if (readFailure !== undefined) return readFailure;
    return longs[PROBE.verdict] === PROBE.verdictGood ? undefined : 'a private mapping did not see published bytes';
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
}

/** Adds 1 to a word, `times` times, as any number of others may be doing. */
export function addByCompareAndSwap(longs: BigUint64Array, word: number, times: number): void {
  for (let i = 0; i < times; i++) {
    let seen = Atomics.load(longs, word);
    for (;;) {
      const found = Atomics.compareExchange(longs, word, seen, seen + 1n);
      if (found === seen) break;
      seen = found;
    }
  }
}
