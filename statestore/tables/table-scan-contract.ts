import { deepEqual, equal, ok } from 'node:assert/strict';
import type { StateStoreContractCase } from '../stores/state-store-contract-case.js';

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const keyOf = (i: number) => bytes(i % 2 === 0 ? `k${i}` : `a key that does not fit inline ${i}`);

/** `scan` of both kinds of table. */
export const tableScanContract: readonly StateStoreContractCase[] = [
  {
    name: 'scan: never more entries than asked for, all of them in a round, and what was removed is not seen',
    async run(make) {
      const table = make({ first: 0, last: 127 }).byteTable('map');
      for (let i = 0; i < 100; i++) table.put(i % 7, i, keyOf(i), bytes(`s${i}`), bytes(`v${i}`));
      for (let i = 0; i < 100; i += 10) table.remove(i % 7, i, keyOf(i), bytes(`s${i}`));
      const seen = new Set<string>();
      // Ids of removed entries may count as examined.
      for (let call = 0; call < 20; call++) {
        let visited = 0;
        table.scan(10, (keyGroup, hash, key, sub, value) => {
          visited++;
          const i = hash;
          deepEqual([keyGroup, Buffer.from(key).toString()], [i % 7, Buffer.from(keyOf(i)).toString()]);
          deepEqual([Buffer.from(sub).toString(), Buffer.from(value).toString()], [`s${i}`, `v${i}`]);
          seen.add(`${i}`);
        });
        ok(visited <= 10, `${visited} of 10`);
      }
      equal(seen.size, 90);
      ok(![...seen].some((i) => Number(i) % 10 === 0));
      let once = 0;
      table.scan(1_000_000, () => once++);
      equal(once, 90, 'one call does not go round twice');
    },
  },
  {
    name: 'scan of lanes: the same, by slot',
    async run(make) {
      const table = make({ first: 0, last: 127 }).laneTable('sums', 1);
      for (let i = 0; i < 100; i++) {
        const slot = table.upsert(i % 7, i, keyOf(i), i);
        table.values[slot] = i;
      }
      for (let i = 0; i < 100; i += 10) table.remove(table.find(i % 7, i, keyOf(i), i));
      const seen = new Set<number>();
      for (let call = 0; call < 20; call++) {
        let visited = 0;
        table.scan(10, (slot, keyGroup, hash, key, namespace) => {
          visited++;
          const i = table.values[slot] as number;
          deepEqual([keyGroup, hash, namespace], [i % 7, i, i]);
          equal(Buffer.from(key).toString(), Buffer.from(keyOf(i)).toString());
          seen.add(i);
        });
        ok(visited <= 10, `${visited} of 10`);
      }
      equal(seen.size, 90);
      ok(![...seen].some((i) => i % 10 === 0));
      make({ first: 0, last: 0 })
        .laneTable('none', 1)
        .scan(10, () => ok(false));
    },
  },
];
