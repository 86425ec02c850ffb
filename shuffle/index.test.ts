import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import * as door from './index.js';

test('the names this folder exports', () => {
  assert.deepEqual(Object.keys(door).sort(), [
    'BUFFER_BARRIER',
    'BUFFER_DATA',
    'BUFFER_END',
    'BUFFER_IDLE',
    'BUFFER_WATERMARK',
    'LocalEnvironment',
    'LocalMaster',
    'SHUFFLE_CONFORMANCE_CASES',
    'SHUFFLE_DEFAULTS',
    'ShuffleService',
    'directDoorbell',
    'noDoorbell',
    'openLocalShuffle',
    'runShuffleConformance',
    'shuffleClient',
    'shuffleConformance',
    'shuffleMetrics',
  ]);
});
