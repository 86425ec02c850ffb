import { deepEqual, throws } from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { nodeDisk, runContractCase, sharedMemoryContract, systemClock, yieldTurn } from '../base/index.js';
import { type CuttableNetwork, networkContract, networkCutContract } from '../base/rpc/index.js';
import {
  type BlobStore,
  blobStoreContract,
  DirectoryBlobStore,
  FaultyBlobStore,
  MemoryBlobStore,
} from '../checkpoint/index.js';
import { baseStoreContract } from '../statestore/index.js';
import { diskContract } from './disk-contract.js';
import { drive, runMain } from './driving.js';
import { SimHostBases } from './sim-bases.js';
import { simByteFiles } from './sim-byte-files.js';
import type { SimContext } from './sim-process.js';
import { SimWorld } from './sim-world.js';

const SEEDS = [1, 2, 3, 4, 5];

/** Both parties as threads of two processes would have them: views of their own, over one host. */
async function onOneHost(seed: number, body: (one: SimContext, other: SimContext) => Promise<void>): Promise<void> {
  const world = new SimWorld({ seed, memory: { bytesMax: 2 ** 30, guard: true } });
  let other: SimContext | undefined;
  world.spawn('other', 'h', (context) => {
    other = context;
  });
  await world.run();
  await runMain(world, 'h', async (one) => body(one, other as SimContext));
}

diskContract('node', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-disk-'));
  return {
    disk: nodeDisk(),
    folder,
    run: (body) => body(),
    close: async () => rmSync(folder, { recursive: true }),
  };
});

for (const seed of SEEDS) {
  const world = new SimWorld({ seed });
  let folders = 0;
  diskContract(`simulated, seed ${seed}`, async () => {
    const folder = `/data/${folders++}`;
    let body: () => Promise<void> = async () => {};
    let context: SimContext | undefined;
    world.spawn(`process-${folder}`, 'h', (c) => {
      context = c;
    });
    await world.run();
    const { disk } = context as unknown as SimContext;
    return {
      disk,
      folder,
      run: (given) => {
        body = given;
        return runMain(world, 'h', async () => {
          await disk.makeFolder(folder);
          await body();
        });
      },
      close: async () => {},
    };
  });
}

for (const seed of SEEDS) {
  describe(`shared memory contract: simulated, seed ${seed}`, () => {
    for (const contractCase of sharedMemoryContract) {
      it(contractCase.name, async () => {
        const close = async () => {};
        await onOneHost(seed, (one, other) => contractCase.run({ one: one.memory, other: other.memory, close }));
      });
    }
  });
}

for (const seed of SEEDS) {
  describe(`blob store contract: folder on a simulated disk, seed ${seed}`, () => {
    for (const contractCase of blobStoreContract) {
      it(contractCase.name, async () => {
        await onOneHost(seed, async (one, other) => {
          const open = ({ disk, random }: SimContext) => DirectoryBlobStore.open({ disk, root: '/store', random });
          await contractCase.run({ one: await open(one), other: await open(other), close: async () => {} });
        });
      });
    }
  });
}

describe('blob store contract: a faulty store that is only slow', () => {
  for (const contractCase of blobStoreContract) {
    it(contractCase.name, async () => {
      await onOneHost(1, async (one, other) => {
        const inner: BlobStore = new MemoryBlobStore();
        const slow = ({ clock, random }: SimContext) =>
          new FaultyBlobStore({ inner, clock, random, faults: { delayMs: [1, 50] } });
        await contractCase.run({ one: slow(one), other: slow(other), close: async () => {} });
      });
    });
  }
});

/** Client and server are processes of their own. A cut is a broken wire: a dead client could not be told, as the cases want. */
async function openNetwork(seed: number, address: string, hosts: readonly [string, string]): Promise<CuttableNetwork> {
  const world = new SimWorld({ seed });
  const contexts: SimContext[] = [];
  world.spawn('client', hosts[0], (context) => void contexts.push(context));
  world.spawn('server', hosts[1], (context) => void contexts.push(context));
  await world.run();
  const named = (name: string) => contexts.find((context) => context.name === name) as SimContext;
  let stop = () => {};
  const driving = drive(world, () => new Promise<void>((resolve) => (stop = resolve)));
  const real = systemClock();
  return {
    connect: (to) => named('client').network.connect(to),
    listen: (onConnection) => named('server').network.listen(address, onConnection),
    nowhere: address.replace(/:0\/.*|here/, (end) => (end === 'here' ? 'nowhere' : ':1/nowhere')),
    largeFrameBytes: 4 * 1024 * 1024,
    turn: () => yieldTurn(real),
    cut: () => void world.network.sever(() => true),
    close: () => {
      stop();
      return driving;
    },
  };
}

for (const [address, ...hosts] of [
  ['unix:/here', 'h1', 'h1'],
  ['memory:here', 'h1', 'h1'],
  ['ws://h2:0/data', 'h1', 'h2'],
] as const) {
  for (const seed of SEEDS.slice(0, 2)) {
    describe(`network contract: simulated, ${address}, seed ${seed}`, () => {
      for (const contractCase of [...networkContract, ...networkCutContract]) {
        it(contractCase.name, () => runContractCase(contractCase, () => openNetwork(seed, address, hosts)));
      }
    });
  }
}

for (const seed of SEEDS) {
  describe(`base store contract: simulated, seed ${seed}`, () => {
    for (const { name, run } of baseStoreContract) {
      it(name, async () => {
        const world = new SimWorld({ seed });
        const bases = new SimHostBases(world.host('h').disk, world.random.fork());
        await runMain(world, 'h', ({ thread }) => run(bases.of(thread), '/base'));
      });
    }
  });
}

it('the simulated disk is read at once as real ones are', async () => {
  const world = new SimWorld({ seed: 1 });
  await runMain(world, 'h', async ({ disk, process }) => {
    await disk.makeFolder('/f');
    await disk.write('/f/a', Uint8Array.of(1, 2, 3));
    const files = simByteFiles(process.host.disk);
    throws(() => files.open('/f/b'), { code: 'DISK_NOT_FOUND' });
    const file = files.open('/f/a');
    await disk.remove('/f/a');
    const target = new Uint8Array(4);
    file.read(target, 1, 2, 1);
    deepEqual([file.size, ...target], [3, 0, 2, 3, 0]);
    throws(() => file.read(target, 0, 3, 1), { code: 'DISK_FAILED' });
  });
});
