import { parentPort, workerData } from 'node:worker_threads';
import { lmdbBaseStores } from './lmdb-base-store.js';

/** Run as a process (path as its argument) or a thread (as its workerData): holds a snapshot until it is ended. */
const path = parentPort === null ? (process.argv[2] as string) : (workerData as string);
const store = await lmdbBaseStores({ mapBytes: 2 ** 32 }).openReader(path);
const snapshot = store.snapshot();
const length = snapshot.find(Buffer.from('key 1'));
const said = Buffer.from(snapshot.value.slice(0, length)).toString();
if (parentPort === null) process.send?.(said);
else parentPort.postMessage(said);
setInterval(() => snapshot.find(Buffer.from('key 1')), 1000);
