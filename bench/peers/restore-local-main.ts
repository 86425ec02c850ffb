import { readFileSync } from 'node:fs';
import { nodeByteFiles } from '../../base/index.js';
import { FOUND, lmdbBaseStores, loadLmdb, StateView } from '../../statestore/index.js';
import { KEY_GROUPS, keyGroupOfNumber, STATE, writeKey } from '../suites/counted-keys.js';

/**
 * A new process that reads one key of a host's state: prints the milliseconds from when it has its code, LMDB's library too, to the
 * value. Arguments: a file with a description of the state, as the daemon would send it, and how many keys.
 */
await loadLmdb();
const start = performance.now();
const [file, keys] = process.argv.slice(2) as [string, string];
const description = JSON.parse(readFileSync(file, 'utf8'));
const range = { first: 0, last: KEY_GROUPS - 1 };
const view = await StateView.open(description, { bases: lmdbBaseStores(), files: nodeByteFiles(), range });
const key = new Uint8Array(8);
const number = Math.floor(Number(keys) / KEY_GROUPS / 2) * KEY_GROUPS + 5;
writeKey(key, number);
if (view.table(STATE).find(keyGroupOfNumber(number), key, new Uint8Array(0)) !== FOUND) throw new Error('not found');
process.stdout.write(String(performance.now() - start));
await view.close();
