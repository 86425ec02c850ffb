import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock, yieldTurn } from '../clock.js';
import type { MillraceError } from '../errors.js';
import type { UwsSocket } from './uws-binding.js';
import { UwsConnection } from './uws-connection.js';

const clock = systemClock();

/** A socket whose buffer the test fills and empties, and that can be told to drop. */
class ScriptedSocket implements UwsSocket {
  readonly sent: Uint8Array[] = [];
  readonly endings: (number | 'closed')[] = [];
  buffered = 0;
  answer = 1;
  onEnd: (code: number) => void = () => undefined;

  getUserData(): object {
    return {};
  }
  send(message: Uint8Array): number {
    this.sent.push(message);
    if (this.answer === 0) this.buffered += message.length;
    return this.answer;
  }
  cork(send: () => void): void {
    send();
  }
  getBufferedAmount(): number {
    return this.buffered;
  }
  getRemoteAddressAsText(): ArrayBuffer {
    return new ArrayBuffer(0);
  }
  end(code: number): void {
    this.endings.push(code);
    this.onEnd(code);
  }
  close(): void {
    this.endings.push('closed');
    this.onEnd(1006);
  }
}

function open() {
  const socket = new ScriptedSocket();
  const connection = new UwsConnection(socket, 'ws client x', clock);
  socket.onEnd = (code) => connection.ended(code, '');
  const closed = new Promise<Error | undefined>((resolve) => connection.onClose(resolve));
  return { socket, connection, closed };
}

describe('UwsConnection', () => {
  it('ends at once when the socket dropped a frame: what follows would arrive with a hole before it', async () => {
    const { socket, connection, closed } = open();
    socket.answer = 2;
    connection.send(new Uint8Array(10));
    connection.send(new Uint8Array(11));
    const reason = (await closed) as MillraceError;
    assert.deepEqual([reason.kind, reason.code], ['unavailable', 'CONNECTION_LOST']);
    assert.match(reason.message, /a frame of 10 bytes was dropped/);
    assert.deepEqual([socket.sent.length, socket.endings, connection.queuedBytes], [1, ['closed'], 0]);
    connection.send(new Uint8Array(12));
    await yieldTurn(clock);
    assert.equal(socket.sent.length, 1);
  });

  it('gives the socket no more while its buffer is full, counts both, and goes on when it drained', async () => {
    const { socket, connection } = open();
    socket.answer = 0;
    for (let i = 0; i < 3_000; i++) connection.send(new Uint8Array(1_000).fill(i));
    await yieldTurn(clock);
    assert.equal(socket.sent.length, 263);
    assert.equal(connection.queuedBytes, 3_000_000);
    while (socket.sent.length < 3_000) {
      socket.buffered = 0;
      const before: number = socket.sent.length;
      connection.drained();
      assert.equal(socket.sent.length, before, 'sent within the drain event');
      await yieldTurn(clock);
      assert(socket.sent.length > before);
    }
    assert(socket.sent.every((frame, i) => frame[0] === (i & 0xff)));
    socket.buffered = 0;
    assert.equal(connection.queuedBytes, 0);
    connection.close();
  });

  it('ends only after the buffer of the socket is empty too', async () => {
    const { socket, connection, closed } = open();
    socket.answer = 0;
    connection.send(new Uint8Array(1_000));
    connection.close();
    await yieldTurn(clock);
    assert.deepEqual(socket.endings, []);
    socket.buffered = 0;
    connection.drained();
    assert.equal(await closed, undefined);
    assert.deepEqual(socket.endings, [1000]);
  });
});
