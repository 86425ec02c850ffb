import { equal } from 'node:assert/strict';
import type { KeyedRows } from '../spi.js';
import type { StateStoreContractCase } from './state-store-contract-case.js';

const key = (text: string) => new Uint8Array(Buffer.from(text));

function keyedRows(rows: readonly { group: number; name: string; namespace: number }[]): KeyedRows {
  const keys = rows.map(({ name }) => key(name));
  const offsets = new Int32Array(rows.length + 1);
  keys.forEach((k, i) => {
    offsets[i + 1] = (offsets[i] as number) + k.length;
  });
  const bytes = new Uint8Array(Buffer.concat([...keys, new Uint8Array(8)]));
  return {
    rows: rows.length,
    keyGroups: Uint16Array.from(rows, ({ group }) => group),
    hashes: new Uint32Array(rows.length).fill(7),
    keys: bytes,
    offsets,
    keyLength: keys.every((k) => k.length === keys[0]?.length) ? (keys[0] as Uint8Array).length : 0,
    view: new DataView(bytes.buffer),
    ...(rows.some(({ namespace }) => namespace !== 0) && {
      namespaces: Float64Array.from(rows, ({ namespace }) => namespace),
    }),
  };
}

/** `upsertAll`. */
export const keyedRowsContract: readonly StateStoreContractCase[] = [
  {
    name: 'lanes: many rows at once are found, made and told apart as one by one',
    async run(make) {
      const names = [
        '',
        'a',
        'b',
        '12345678',
        '\t12345678',
        '\n12345678',
        '123456789',
        'twelve-bytes',
        'a key of its own that is long',
      ];
      for (const first of names) {
        const table = make({ first: 0, last: 127 }).laneTable('sums', 1);
        const other = make({ first: 0, last: 127 }).laneTable('sums', 1);
        table.upsert(1, 7, key(first), 0);
        other.upsert(1, 7, key(first), 0);
        for (let round = 0; round < 3; round++) {
          const rows = Array.from({ length: 600 }, (_, i) => ({
            group: i % 3,
            name: round === 0 ? first : (names[(i * 7 + round) % names.length] as string),
            namespace: round === 2 ? (i % 5) * 1000 : 0,
          }));
          const encoded = keyedRows(rows);
          const slots = new Int32Array(rows.length);
          const created = new Uint8Array(rows.length);
          table.upsertAll(encoded, slots, created);
          rows.forEach(({ group, name, namespace }, i) => {
            other.upsert(group, 7, key(name), namespace);
            equal(created[i], other.created ? 1 : 0);
            equal(slots[i], table.find(group, 7, key(name), namespace));
          });
          equal(table.size, other.size);
          const removed = rows[round] as (typeof rows)[number];
          for (const t of [table, other]) t.remove(t.find(removed.group, 7, key(removed.name), removed.namespace));
        }
      }
    },
  },
];
