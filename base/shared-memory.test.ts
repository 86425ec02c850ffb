import { rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { runContractCase } from './contract-case.js';
import { heapMemory } from './heap-memory.js';
import { mappedMemory } from './mapped-memory.js';
import { memoryBackedFolder } from './memory-folder.js';
import { remoteSharedArrayMemory, serveSharedArrayMemory, sharedArrayMemory } from './shared-array-memory.js';
import type { SharedMemory } from './shared-memory.js';
import { type SharedMemoryPair, sharedMemoryContract } from './shared-memory-contract.js';
import { remoteMappedMemory, serveMappedMemory } from './thread-mapped-memory.js';

const shm = memoryBackedFolder();

function contract(name: string, makePair: () => Promise<SharedMemoryPair>): void {
  describe(name, () => {
    for (const contractCase of sharedMemoryContract) {
      it(contractCase.name, () => runContractCase(contractCase, makePair));
    }
  });
}

const alone = async (memory: SharedMemory): Promise<SharedMemoryPair> => ({
  one: memory,
  other: memory,
  close: async () => {},
});

async function overPort(): Promise<SharedMemoryPair> {
  const owner = sharedArrayMemory();
  const { port1, port2 } = new MessageChannel();
  serveSharedArrayMemory(owner, port1);
  return { one: owner, other: remoteSharedArrayMemory(port2), close: async () => port1.close() };
}

async function mapped(): Promise<SharedMemoryPair> {
  const folder = mkdtempSync(join(shm as string, 'millrace-test-'));
  const close = async () => rmSync(folder, { recursive: true });
  return { one: mappedMemory({ folder }), other: mappedMemory({ folder }), close };
}

async function mappedOverPort(): Promise<SharedMemoryPair> {
  const folder = mkdtempSync(join(shm as string, 'millrace-test-'));
  const { port1, port2 } = new MessageChannel();
  serveMappedMemory({ folder }, port1);
  const other = remoteMappedMemory(port2);
  const closed = once(port1, 'close');
  const close = async () => {
    port1.ref();
    port2.close();
    await closed;
    rmSync(folder, { recursive: true });
  };
  return { one: mappedMemory({ folder }), other, close };
}

contract('heap memory', () => alone(heapMemory()));
contract('SharedArrayBuffer memory in the owning thread', () => alone(sharedArrayMemory()));
contract('SharedArrayBuffer memory from another thread', overPort);
if (shm !== undefined) {
  contract('mapped memory', mapped);
  contract('mapped memory from another thread', mappedOverPort);
}

describe('bounded heap memory', () => {
  it('refuses what does not fit, naming the free bytes, until something is removed', async () => {
    const memory = heapMemory({ bytesMax: 100 });
    await memory.create('a', 64);
    await rejects(memory.create('b', 64), { code: 'MEMORY_FULL', kind: 'unavailable', message: /36 bytes free/ });
    await memory.remove('a');
    await memory.create('b', 64);
  });
});

describe('SharedArrayBuffer memory from another thread', () => {
  it('fails once the owner has closed its port, and so do calls that wait for an answer', async () => {
    const { port1, port2 } = new MessageChannel();
    const remote = remoteSharedArrayMemory(port2);
    const waiting = remote.list();
    port1.close();
    await rejects(waiting, { code: 'MEMORY_CLOSED', kind: 'closed' });
    await rejects(remote.list(), { code: 'MEMORY_CLOSED', kind: 'closed' });
  });
});
