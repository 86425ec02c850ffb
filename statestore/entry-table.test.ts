import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { entryComparator, orderEntries } from './entry-order.js';
import { EntryTable } from './entry-table.js';
import { Generations } from './generations.js';

function started(): Generations {
  const generations = new Generations();
  generations.start(0, 0);
  return generations;
}

function add(table: EntryTable, group: number, hash: number, key: Uint8Array, first: number): number {
  const mixed = table.mix(hash, key, key.length, key.length, first, 0);
  const id = table.find(mixed, group, key, key.length, key.length, first, 0);
  return id >= 0 ? id : table.insert(mixed, group, hash, key, key.length, key.length, first, 0);
}

function find(table: EntryTable, group: number, hash: number, key: Uint8Array, first: number): number {
  return table.find(
    table.mix(hash, key, key.length, key.length, first, 0),
    group,
    key,
    key.length,
    key.length,
    first,
    0,
  );
}

describe('entry table', () => {
  it('many entries whose hashes collide are found until they are removed, and only they', () => {
    const entry = fc.tuple(fc.nat(400), fc.boolean());
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: 200, maxLength: 600 }),
        fc.constantFrom(0, 7, 0xffff),
        (script, mask) => {
          const table = new EntryTable(started(), 1);
          const expected = new Map<number, number>();
          for (const [n, remove] of script) {
            const key = new Uint8Array(Buffer.from(`key ${n} ${'x'.repeat(n % 20)}`));
            const id = expected.get(n);
            if (remove && id !== undefined) {
              table.remove(id);
              expected.delete(n);
            } else {
              const added = add(table, 1, n & mask, key, 0);
              if (id !== undefined) equal(added, id);
              expected.set(n, added);
            }
          }
          for (let n = 0; n <= 400; n++) {
            const key = new Uint8Array(Buffer.from(`key ${n} ${'x'.repeat(n % 20)}`));
            equal(find(table, 1, n & mask, key, 0), expected.get(n) ?? -1);
            const id = expected.get(n);
            if (id !== undefined) deepEqual([...table.keyOf(id)], [...key]);
          }
          equal(table.live, expected.size);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('orders by key group, key bytes and number, however long the common prefix and many the ties', () => {
    const tail = fc.uint8Array({ maxLength: 8, max: 3 });
    const rows = fc.array(fc.tuple(fc.nat(1), tail, fc.constantFrom(0, -1, 2, Number.NEGATIVE_INFINITY)), {
      minLength: 80,
    });
    fc.assert(
      fc.property(rows, fc.constantFrom('', 'a', 'a common prefix'), (script, prefix) => {
        const table = new EntryTable(started(), 1);
        for (const [group, bytes, first] of script) {
          add(table, group, 5, new Uint8Array(Buffer.concat([Buffer.from(prefix), bytes])), first);
        }
        const compare = entryComparator(table);
        const plain = [...table.liveIds()].sort((a, b) => table.keyGroupOf(a) - table.keyGroupOf(b) || compare(a, b));
        const ordered = orderEntries(table, table.liveIds());
        deepEqual([...ordered.ids], plain);
        for (const { keyGroup, start, end } of ordered.groups) {
          for (const id of ordered.ids.subarray(start, end)) equal(table.keyGroupOf(id), keyGroup);
        }
        equal(ordered.groups.at(-1)?.end, plain.length);
        for (let i = 1; i < plain.length; i++) {
          const [a, b] = [plain[i - 1] as number, plain[i] as number];
          if (table.keyGroupOf(a) !== table.keyGroupOf(b)) continue;
          const keys = Buffer.compare(table.keyOf(a), table.keyOf(b));
          equal(keys < 0 || (keys === 0 && table.doubleOf(a, 0) < table.doubleOf(b, 0)), true);
        }
      }),
      { numRuns: 60 },
    );
  });
});
