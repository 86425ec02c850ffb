import { deepEqual, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readAnswer } from './s3-body.js';

const stored = Uint8Array.from({ length: 100 }, (_, i) => i);
const none = () => {};

/** An answer with these bytes of `stored`, in pieces. */
function answer(start: number, end: number, headers: { ContentLength?: number; ContentRange?: string }) {
  const pieces = [stored.subarray(start, (start + end) >> 1), stored.subarray((start + end) >> 1, end)];
  return { Body: pieces, ...headers };
}

describe('the body of an S3 answer', () => {
  const range = { offset: 10, length: 20 };

  it('is what was asked for, also from a server that answers a range with the whole, or does not repeat its length', async () => {
    deepEqual(await readAnswer(answer(0, 100, { ContentLength: 100 }), undefined, none), stored);
    deepEqual(await readAnswer(answer(0, 100, { ContentRange: 'bytes 0-99/100' }), undefined, none), stored);
    deepEqual(await readAnswer(answer(0, 100, { ContentLength: 100 }), range, none), stored.slice(10, 30));
    const told = { ContentLength: 20, ContentRange: 'bytes 10-29/100' };
    deepEqual(await readAnswer(answer(10, 30, told), range, none), stored.slice(10, 30));
    const rest = { ContentLength: 5, ContentRange: 'bytes 95-99/100' };
    deepEqual(await readAnswer(answer(95, 100, rest), { offset: 95, length: 20 }, none), stored.slice(95));
    deepEqual(await readAnswer({ ContentLength: 0 }, undefined, none), new Uint8Array(0));
  });

  it('is an error when anything about its length is amiss', async () => {
    const of = (ContentRange: string, ContentLength = 20) => ({ ContentRange, ContentLength });
    for (const [given, asked, code] of [
      [answer(0, 99, { ContentLength: 100 }), undefined, 'TruncatedBody'],
      [answer(0, 100, { ContentLength: 99 }), undefined, 'OverlongBody'],
      [answer(0, 100, {}), undefined, 'UnknownLength'],
      [answer(0, 50, of('bytes 0-49/100', 50)), undefined, 'WrongRange'],
      [answer(10, 29, of('bytes 10-29/100')), range, 'TruncatedBody'],
      [answer(10, 31, of('bytes 10-29/100')), range, 'OverlongBody'],
      [answer(11, 31, of('bytes 11-30/100')), range, 'WrongRange'],
      [answer(10, 29, of('bytes 10-28/100', 19)), range, 'WrongRange'],
      [answer(10, 29, of('bytes 10-29/100', 19)), range, 'WrongRange'],
      [answer(10, 30, of('bytes */100')), range, 'WrongRange'],
      [answer(10, 30, of('bytes 10-29/*')), range, 'WrongRange'],
    ] as const) {
      await rejects(readAnswer(given, asked, none), { code }, JSON.stringify([given, asked]));
    }
  });
});
