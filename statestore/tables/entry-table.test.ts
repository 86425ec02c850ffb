import { deepEqual, equal } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { orderRecords, recordComparator } from '../segment/entry-order.js';
import { finish } from '../segment/state-writer.js';
import { type EntryShape, EntryTable } from './entry-table.js';
import { gather } from './frozen-records.js';
import { Generations } from './generations.js';
import { doubleAt, keyGroupAt, locateKey, newLocation } from './record-layout.js';

function started(): Generations {
  const generations = new Generations();
  generations.start(0, 0);
  return generations;
}

const narrow = { first: 0, last: 127 };
const wide = { first: 3, last: 70_000 };

interface Identity {
  readonly group: number;
  readonly hash: number;
  readonly key: Uint8Array;
  /** So many of the key's bytes are a sub key. */
  readonly sub: number;
  readonly first: number;
  readonly second: number;
}

function find(table: EntryTable, { group, hash, key, sub, first, second }: Identity): number {
  const split = key.length - sub;
  const mixed = table.mix(hash, key, split, key.length, first, second);
  return table.find(mixed, group, key, split, key.length, first, second);
}

function add(table: EntryTable, identity: Identity): number {
  const found = find(table, identity);
  if (found > 0) return found;
  const { group, hash, key, sub, first, second } = identity;
  const split = key.length - sub;
  const mixed = table.mix(hash, key, split, key.length, first, second);
  return table.insert(mixed, group, hash, key, split, key.length, first, second);
}

const shapes: fc.Arbitrary<EntryShape> = fc.record({
  range: fc.constantFrom(narrow, wide),
  doubles: fc.constantFrom(0 as const, 1 as const, 2 as const),
  payloadWords: fc.constantFrom(0, 2, 4),
  aligned: fc.constant(true as const),
});

/** An identity for each number; as far as the shape can tell them apart. */
function identityOf(shape: EntryShape, n: number, mask: number, width: number): Identity {
  const key = new Uint8Array(Buffer.from(`\t${n}`.padEnd(width + (n % 3) - (n % 2) * 5, 'x')));
  return {
    group: shape.range.first + (n % 120) * (shape.range === wide ? 500 : 1),
    hash: n & mask,
    key,
    sub: shape.subKeys === true ? n % 2 : 0,
    first: shape.doubles > 0 ? n % 2 : 0,
    second: shape.doubles > 1 ? n % 5 : 0,
  };
}

describe('entry table', () => {
  it('entries of all shapes whose hashes collide are found until they are removed, and only they', () => {
    const entry = fc.tuple(fc.nat(400), fc.boolean());
    const scripts = fc.array(entry, { minLength: 200, maxLength: 600 });
    const widths = fc.constantFrom(5, 8, 9, 14, 24, 40, 60);
    const traits = fc.record({ omit: fc.boolean(), subKeys: fc.boolean() });
    fc.assert(
      fc.property(
        scripts,
        shapes,
        traits,
        fc.constantFrom(0, 7, 0xffff),
        widths,
        (script, plain, trait, mask, width) => {
          const shape: EntryShape = {
            ...plain,
            ...(trait.omit && plain.doubles === 1 && { mayOmitDoubles: true }),
            ...(trait.subKeys && { subKeys: true }),
          };
          const table = new EntryTable(started(), shape);
          const expected = new Map<number, number>();
          for (const [n, remove] of script) {
            const id = expected.get(n);
            if (remove && id !== undefined) {
              table.remove(id);
              expected.delete(n);
            } else {
              const added = add(table, identityOf(shape, n, mask, width));
              if (id !== undefined) equal(added, id);
              expected.set(n, added);
            }
          }
          for (let n = 0; n <= 400; n++) {
            const identity = identityOf(shape, n, mask, width);
            equal(find(table, identity), expected.get(n) ?? 0);
            const id = expected.get(n);
            if (id === undefined) continue;
            deepEqual([...table.keyOf(id), ...table.subOf(id)], [...identity.key]);
            equal(table.subOf(id).length, identity.sub);
            const told = [table.keyGroupOf(id), table.hashOf(id), table.doubleOf(id, 0), table.doubleOf(id, 1)];
            deepEqual(told, [identity.group, identity.hash, identity.first, identity.second]);
          }
          equal(table.live, expected.size);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('orders by key group, key bytes and number, however long the common prefix and many the ties', () => {
    const tail = fc.uint8Array({ maxLength: 8, max: 3 });
    const number = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((low) => Uint8Array.of(0, 0, 0, 7, ...low));
    const rowsOf = (tails: fc.Arbitrary<Uint8Array>) =>
      fc.array(fc.tuple(fc.nat(1), tails, fc.constantFrom(0, -1, 2, Number.NEGATIVE_INFINITY)), { minLength: 80 });
    const tagged = fc.tuple(fc.nat(3), number).map(([tag, bytes]) => Uint8Array.of(tag, ...bytes));
    const rows = fc.oneof(rowsOf(tail), rowsOf(number), rowsOf(tagged), rowsOf(fc.oneof(tail, number, tagged)));
    fc.assert(
      fc.property(rows, fc.constantFrom('', '\t', 'a common prefix'), (script, prefix) => {
        const table = new EntryTable(started(), { range: narrow, doubles: 1, payloadWords: 0 });
        for (const [group, bytes, first] of script) {
          const key = new Uint8Array(Buffer.concat([Buffer.from(prefix), bytes]));
          add(table, { group, hash: 5, key, sub: 0, first, second: 0 });
        }
        const frozen = table.freeze(true, undefined);
        if (frozen === undefined) throw new Error('there are entries');
        const records = finish(gather(frozen));
        equal(records.count, table.live);
        const { stride } = records.layout;
        const compare = recordComparator(records);
        const groupOf = (i: number) => keyGroupAt(records, i * stride);
        const keyOf = (i: number) => {
          const at = newLocation();
          locateKey(records, i * stride, at);
          return at.bytes.slice(at.start, at.end);
        };
        const all = Array.from({ length: records.count }, (_, i) => i);
        const plain = all.sort((a, b) => groupOf(a) - groupOf(b) || compare(a, b));
        const ordered = finish(orderRecords(records, records.count));
        deepEqual([...ordered.order], plain);
        for (const { keyGroup, start, end } of ordered.groups) {
          for (const i of ordered.order.subarray(start, end)) equal(groupOf(i), keyGroup);
        }
        equal(ordered.groups.at(-1)?.end, plain.length);
        for (let i = 1; i < plain.length; i++) {
          const [a, b] = [plain[i - 1] as number, plain[i] as number];
          if (groupOf(a) !== groupOf(b)) continue;
          const keys = Buffer.compare(keyOf(a), keyOf(b));
          const smaller = doubleAt(records, a * stride, 0) < doubleAt(records, b * stride, 0);
          equal(keys < 0 || (keys === 0 && smaller), true);
        }
      }),
      { numRuns: 60 },
    );
  });
});
