import { join } from 'node:path';
import { seededRandom } from '../../base/index.js';

/**
 * Fills an embedded key-value store of somebody else's with counters (8 bytes each, key and value), reads some at random, and
 * prints how many reads a second. Arguments: `rocksdb` or `slatedb`, a folder, keys, reads. Ends with exit code 3 where the
 * store's package cannot be loaded: it is a development dependency with native code.
 */
const [which, folder, keys, reads] = process.argv.slice(2) as [string, string, string, string];
const WRITES = 10_000;
/** Asked for together: the stores answer asynchronously, and do best so. */
const READS = 4096;

interface KeyValueStore {
  fill(keys: number): Promise<void>;
  /** @returns how many there were. */
  read(numbers: readonly number[]): Promise<number>;
}

function keyOf(n: number): Buffer {
  const key = Buffer.alloc(8);
  key.writeUInt32BE(n, 4);
  return key;
}

/** Packages without types of their own, or that may be missing. */
// biome-ignore lint/suspicious/noExplicitAny: what they export is used right here.
async function load(name: string): Promise<any> {
  try {
    return await import(name);
  } catch (thrown) {
    process.stderr.write(`${name} cannot be loaded: ${String(thrown)}\n`);
    process.exit(3);
  }
}

async function rocksdb(): Promise<KeyValueStore> {
  const { default: RocksDb } = await load('rocksdb-native');
  const database = new RocksDb(join(folder, 'rocksdb'));
  await database.ready();
  return {
    async fill(count) {
      for (let from = 0; from < count; from += WRITES) {
        const batch = database.write();
        for (let n = from; n < Math.min(count, from + WRITES); n++) batch.put(keyOf(n), Buffer.alloc(8, 1));
        await batch.flush();
        batch.destroy();
      }
      await database.flush();
    },
    async read(numbers) {
      const batch = database.read();
      const values: Promise<Buffer | null>[] = numbers.map((n) => batch.get(keyOf(n)));
      batch.tryFlush();
      const found = (await Promise.all(values)).filter((value) => value !== null).length;
      batch.destroy();
      return found;
    },
  };
}

async function slatedb(): Promise<KeyValueStore> {
  const { DbBuilder, ObjectStore, WriteBatch } = await load('@slatedb/uniffi');
  const database = await new DbBuilder('slatedb', ObjectStore.resolve(`file://${folder}`)).build();
  return {
    async fill(count) {
      for (let from = 0; from < count; from += WRITES) {
        const batch = new WriteBatch();
        for (let n = from; n < Math.min(count, from + WRITES); n++) batch.put(keyOf(n), Buffer.alloc(8, 1));
        await database.write(batch);
      }
    },
    async read(numbers) {
      const values: Promise<Uint8Array | undefined>[] = numbers.map((n) => database.get(keyOf(n)));
      return (await Promise.all(values)).filter((value) => value !== undefined).length;
    },
  };
}

const store = await (which === 'rocksdb' ? rocksdb() : slatedb());
await store.fill(Number(keys));
const random = seededRandom(1);
let asked = 0;
const start = performance.now();
while (asked < Number(reads)) {
  const numbers = Array.from({ length: Math.min(READS, Number(reads)) }, () => random.below(Number(keys)));
  if ((await store.read(numbers)) !== numbers.length) throw new Error(`${which} did not find its own keys`);
  asked += numbers.length;
}
process.stdout.write(String((asked / (performance.now() - start)) * 1000));
// Their own threads would keep the process.
process.exit(0);
