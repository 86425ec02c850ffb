import { parentPort } from 'node:worker_threads';
import { ownThread } from './thread-identity.js';

// Says who it is to the thread or the process that started it, and then lives until it is ended.

if (parentPort !== null) {
  parentPort.on('message', () => undefined);
  parentPort.postMessage(ownThread());
} else {
  process.on('message', () => undefined);
  process.send?.(ownThread());
}
