import type { RpcPeer } from '../base/rpc/index.js';
import type { Doorbell } from './doorbell.js';
import { Bell, BellT } from './generated/millrace/shuffle.js';
import { encode, reader, SHUFFLE_SERVICES } from './message.js';

/** A client's doorbells, rung by way of the service. */
export function remoteDoorbell(peer: RpcPeer): Doorbell {
  const handlers = new Map<number, () => void>();
  let live = true;
  peer.closed.then(() => {
    live = false;
    for (const look of handlers.values()) look();
  });
  peer.serve(SHUFFLE_SERVICES.ring, (body) => {
    handlers.get(bellAddress(body))?.();
    return undefined;
  });
  const ring = (address: number) => {
    const here = handlers.get(address);
    if (here !== undefined) here();
    else peer.notify(SHUFFLE_SERVICES.ring, encode(new BellT(address)));
  };
  return {
    ring(address) {
      ring(address);
      // A writer publishes many steps in one turn; a reader woken only after the turn finds the window full, drains it
      // in one turn of its own, and so they take turns instead of working side by side.
      peer.flush();
    },
    ringAll(addresses) {
      for (const address of addresses) ring(address);
      peer.flush();
    },
    onRing(address, handler) {
      handlers.set(address, handler);
      peer.notify(SHUFFLE_SERVICES.listen, encode(new BellT(address)));
      return () => {
        handlers.delete(address);
        peer.notify(SHUFFLE_SERVICES.deafen, encode(new BellT(address)));
      };
    },
    far: true,
    get live() {
      return live;
    },
  };
}

/** The service's doorbells: some sleepers are here, the others behind a connection. */
export class DoorbellExchange implements Doorbell {
  readonly live = true;
  readonly far = false;
  readonly #here = new Map<number, () => void>();
  readonly #away = new Map<number, RpcPeer>();

  ring(address: number): void {
    const here = this.#here.get(address);
    if (here !== undefined) here();
    else this.#away.get(address)?.notify(SHUFFLE_SERVICES.ring, encode(new BellT(address)));
  }

  ringAll(addresses: readonly number[]): void {
    for (const address of addresses) this.ring(address);
  }

  onRing(address: number, handler: () => void): () => void {
    this.#here.set(address, handler);
    return () => this.#here.delete(address);
  }

  /** Forwards rings for, and from, the sleepers behind this connection, until it closes. */
  connect(peer: RpcPeer): void {
    peer.serve(SHUFFLE_SERVICES.listen, (body) => {
      this.#away.set(bellAddress(body), peer);
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.deafen, (body) => {
      const address = bellAddress(body);
      if (this.#away.get(address) === peer) this.#away.delete(address);
      return undefined;
    });
    peer.serve(SHUFFLE_SERVICES.ring, (body) => {
      this.ring(bellAddress(body));
      return undefined;
    });
    peer.closed.then(() => {
      for (const [address, listener] of this.#away) if (listener === peer) this.#away.delete(address);
    });
  }
}

function bellAddress(body: Uint8Array): number {
  return Bell.getRootAsBell(reader(body)).address();
}
