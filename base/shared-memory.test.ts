import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { heapMemory } from './heap-memory.js';
import { mappedMemory } from './mapped-memory.js';
import { memoryBackedFolder } from './memory-folder.js';
import { remoteSharedArrayMemory, serveSharedArrayMemory, sharedArrayMemory } from './shared-array-memory.js';
import type { SharedMemory } from './shared-memory.js';
import { runContractCase, type SharedMemoryPair, sharedMemoryContract } from './shared-memory-contract.js';

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

contract('heap memory', () => alone(heapMemory()));
contract('SharedArrayBuffer memory in the owning thread', () => alone(sharedArrayMemory()));
contract('SharedArrayBuffer memory from another thread', overPort);
if (shm !== undefined) contract('mapped memory', mapped);
