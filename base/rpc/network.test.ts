import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemClock } from '../clock.js';
import { memoryNetwork } from './memory-network.js';
import { nodeNetwork } from './network.js';

const clock = systemClock();

describe('nodeNetwork', () => {
  it('chooses by the scheme of the address', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-network-'));
    try {
      const network = nodeNetwork({ clock });
      for (const address of [`unix:${folder}/a.sock`, 'memory:a']) {
        const listener = await network.listen(address, (connection) => {
          connection.onFrame((frame) => connection.send(frame));
        });
        const connection = await network.connect(address);
        const echoed = new Promise((resolve) => connection.onFrame(resolve));
        const closed = new Promise((resolve) => connection.onClose(resolve));
        connection.send(Uint8Array.of(7));
        assert.deepEqual(await echoed, Uint8Array.of(7));
        connection.close();
        await closed;
        await listener.close();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('names an address whose scheme it does not know, or that cannot be listened on', async () => {
    const network = nodeNetwork({ clock });
    for (const address of ['tcp://127.0.0.1:1', '/tmp/x.sock', '', ':x']) {
      const expected = { kind: 'invalid', code: 'ADDRESS_INVALID', context: { address } };
      await assert.rejects(network.connect(address), expected);
      await assert.rejects(
        network.listen(address, () => undefined),
        expected,
      );
    }
    await assert.rejects(
      network.listen('ws://127.0.0.1:0/x', () => undefined),
      { message: /front door/ },
    );
    await assert.rejects(network.connect('ws://'), { code: 'ADDRESS_INVALID' });
  });

  it('reaches others in its thread through the memory network they share', async () => {
    const memory = memoryNetwork({ clock });
    await nodeNetwork({ clock, memory }).listen('memory:a', () => undefined);
    (await nodeNetwork({ clock, memory }).connect('memory:a')).close();
    await assert.rejects(nodeNetwork({ clock }).connect('memory:a'), { code: 'CONNECT_FAILED' });
  });
});
