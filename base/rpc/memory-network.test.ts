import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock, yieldTurn } from '../clock.js';
import { runContractCase } from '../contract-case.js';
import { memoryNetwork } from './memory-network.js';
import { type NetworkUnderTest, networkContract } from './network-contract.js';

const clock = systemClock();

async function open(): Promise<NetworkUnderTest> {
  const network = memoryNetwork({ clock });
  return {
    connect: (address) => network.connect(address),
    listen: (onConnection) => network.listen('memory:here', onConnection),
    nowhere: 'memory:nowhere',
    turn: () => yieldTurn(clock),
    close: async () => undefined,
  };
}

describe('memory network', () => {
  for (const contractCase of networkContract) it(contractCase.name, () => runContractCase(contractCase, open));
});

it('memory: refuses a name that is taken, until its listener closed', async () => {
  const network = memoryNetwork({ clock });
  const first = await network.listen('memory:x', () => undefined);
  await assert.rejects(
    network.listen('memory:x', () => undefined),
    { kind: 'invalid', code: 'ADDRESS_IN_USE', context: { address: 'memory:x' } },
  );
  await first.close();
  await (await network.listen('memory:x', () => undefined)).close();
});

it('memory: networks do not see each other', async () => {
  await memoryNetwork({ clock }).listen('memory:x', () => undefined);
  await assert.rejects(memoryNetwork({ clock }).connect('memory:x'), { code: 'CONNECT_FAILED' });
});
