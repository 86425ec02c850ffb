import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as columnar from './index.js';

test('the door exports these names', () => {
  assert.deepEqual(Object.keys(columnar).sort(), [
    'Batch',
    'BatchBuilder',
    'KeyExtractor',
    'KeyRows',
    'RowCursor',
    'compileSchema',
    'decodeKeyValues',
    'decodeRow',
    'encodeColumns',
    'encodeKeyValues',
    'encodeRow',
    'endOfStream',
    'hashKey',
    'keyGroupOf',
    'keyGroupRange',
    'keyTypesOf',
    'rowCursor',
    'schemaMessage',
    'seek',
    'subtaskOfKeyGroup',
    'toRow',
  ]);
});
