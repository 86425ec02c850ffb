import { type MessagePort, parentPort } from 'node:worker_threads';
import { systemClock } from '../../base/index.js';
import { WriteQueue } from './write-queue.js';

/** The thread of a `WriterThread`: it is sent ports, from which it takes requests. */
const queue = new WriteQueue(systemClock());
parentPort?.on('message', (port: MessagePort) => queue.serve(port));
