import { type Connection, FRAME_BYTES_MAX, MillraceError } from '../base/index.js';
import type { SimClock } from './sim-clock.js';
import type { SimThread } from './sim-thread.js';

/** What a connection needs of the network it runs over. */
export interface Wire {
  readonly clock: SimClock;
  readonly bytesPerMs: number;
  /** Time on the way, drawn for each frame. */
  latencyMs(from: SimThread, to: SimThread): number;
  /** Nothing gets from one to the other; what is on the way is held. */
  blocked(from: SimThread, to: SimThread): boolean;
}

/** Something on its way to the other side, in order: a frame, or the end. */
interface Parcel {
  readonly bytes: Uint8Array | undefined;
  /** The sender's own array, to find out whether it was changed under way. */
  readonly original: Uint8Array | undefined;
  readonly reason: Error | undefined;
  /** When its last byte is handed to the operating system; lost if the sender dies before. */
  readonly handedOverMs: number;
  arrivalMs: number;
  cancel: () => void;
}

/**
 * One side of a simulated connection. What one side sends arrives at the other in order: each frame after the time its
 * bytes take plus a latency of its own, never before the one sent ahead of it. The end of a connection travels behind
 * the frames that still arrive.
 */
export class SimConnection implements Connection {
  readonly peer: string;
  readonly thread: SimThread;
  readonly #wire: Wire;
  #other: SimConnection | undefined;
  #state: 'open' | 'closing' | 'closed' = 'open';
  /** The wire is broken, though this side may not know yet. */
  #cut = false;
  #frameHandler: ((frame: Uint8Array) => void) | undefined;
  #closeHandler: ((reason: Error | undefined) => void) | undefined;
  /** Set once the end is known and nobody has been told yet. */
  #ended: { readonly reason: Error | undefined } | undefined;
  readonly #onTheWay: Parcel[] = [];
  readonly #held: Parcel[] = [];
  #handedOverMs = 0;
  #lastArrivalMs: number;

  constructor(wire: Wire, thread: SimThread, peer: string, notBeforeMs: number) {
    this.#wire = wire;
    this.thread = thread;
    this.peer = peer;
    this.#lastArrivalMs = notBeforeMs;
  }

  /** @internal Joins two sides. */
  static join(a: SimConnection, b: SimConnection): void {
    a.#other = b;
    b.#other = a;
  }

  get open(): boolean {
    return this.#state === 'open' && this.thread.alive;
  }

  /** Nothing more happens on this side. */
  get finished(): boolean {
    return this.#state === 'closed' || !this.thread.alive;
  }

  get other(): SimConnection {
    return this.#other as SimConnection;
  }

  get queuedBytes(): number {
    if (this.#handedOverMs <= this.#wire.clock.timeMs) return 0;
    let sum = 0;
    for (const parcel of this.#onTheWay) {
      if (parcel.bytes !== undefined && parcel.handedOverMs > this.#wire.clock.timeMs) sum += parcel.bytes.length;
    }
    return sum;
  }

  send(frame: Uint8Array): void {
    if (!this.open) return;
    if (frame.length > FRAME_BYTES_MAX) {
      const message = `a frame of ${frame.length} bytes cannot be sent to ${this.peer}; the most is ${FRAME_BYTES_MAX}`;
      throw new MillraceError('invalid', 'FRAME_TOO_LARGE', message);
    }
    this.#handedOverMs = Math.max(this.#handedOverMs, this.#wire.clock.timeMs) + frame.length / this.#wire.bytesPerMs;
    this.#dispatch(new Uint8Array(frame), frame, undefined, 'net.frame', this.#handedOverMs);
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#frameHandler = handler;
  }

  onClose(handler: (reason: Error | undefined) => void): void {
    this.#closeHandler = handler;
    if (this.#ended !== undefined) this.#tell();
  }

  close(): void {
    if (!this.open) return;
    this.#state = 'closing';
    const handedOverMs = Math.max(this.#handedOverMs, this.#wire.clock.timeMs);
    this.#dispatch(undefined, undefined, undefined, 'net.close', handedOverMs);
    this.#wire.clock.on(this.thread, handedOverMs - this.#wire.clock.timeMs, 'net.closed', () => this.#end(undefined));
  }

  /** The connection breaks: what is on the way is lost, both sides learn of it, each in its own time. */
  sever(reason: Error): void {
    for (const side of [this as SimConnection, this.other]) {
      side.#lose(() => true);
      side.#cut = true;
      side.#notice(reason, this.#wire.latencyMs(side.other.thread, side.thread));
    }
  }

  /** This side's thread died: what it had not handed to the operating system is lost; the other side learns of it later. */
  abandon(reason: Error, afterMs: number): void {
    this.#state = 'closed';
    const now = this.#wire.clock.timeMs;
    this.#lose((parcel) => parcel.handedOverMs > now);
    this.other.#lose(() => true);
    if (afterMs > 0) this.other.#notice(reason, afterMs);
    else this.#dispatch(undefined, undefined, reason, 'net.reset', now);
  }

  /** @internal The way to this side is free again. */
  unblock(): void {
    for (const parcel of this.#held.splice(0)) {
      if (this.#wire.blocked(this.other.thread, this.thread)) this.#held.push(parcel);
      else this.other.#travel(parcel, 'net.late');
    }
  }

  #dispatch(
    bytes: Uint8Array | undefined,
    original: Uint8Array | undefined,
    reason: Error | undefined,
    label: string,
    handedOverMs: number,
  ): void {
    if (this.#cut) return;
    const parcel: Parcel = { bytes, original, reason, handedOverMs, arrivalMs: 0, cancel: () => {} };
    this.#onTheWay.push(parcel);
    this.#travel(parcel, label);
  }

  #travel(parcel: Parcel, label: string): void {
    const { clock } = this.#wire;
    const to = this.other;
    const arrivalMs = Math.max(
      this.#lastArrivalMs,
      Math.max(parcel.handedOverMs, clock.timeMs) + this.#wire.latencyMs(this.thread, to.thread),
    );
    this.#lastArrivalMs = arrivalMs;
    parcel.arrivalMs = arrivalMs;
    const arrive = () => {
      if (to.#held.length > 0 || this.#wire.blocked(this.thread, to.thread)) to.#held.push(parcel);
      else to.#receive(parcel);
    };
    const timer = clock.on(to.thread, arrivalMs - clock.timeMs, label, arrive, parcel.bytes?.length ?? 0);
    parcel.cancel = () => timer.cancel();
  }

  #receive(parcel: Parcel): void {
    const index = this.other.#onTheWay.indexOf(parcel);
    if (index < 0) return;
    this.other.#onTheWay.splice(index, 1);
    if (this.#state === 'closed') return;
    if (parcel.bytes === undefined) {
      this.#end(parcel.reason);
      return;
    }
    if (this.#state === 'closing') return;
    const { clock } = this.#wire;
    if (parcel.original !== undefined && Buffer.compare(parcel.original, parcel.bytes) !== 0) {
      throw clock.violate('BYTES_CHANGED', `a frame for ${this.other.peer} changed after it was sent`);
    }
    if (this.#frameHandler === undefined) {
      throw clock.violate('NO_FRAME_HANDLER', `a frame from ${this.peer} came before onFrame was called`);
    }
    this.#frameHandler(parcel.bytes);
  }

  /** Drops what this side sent and is not yet there. */
  #lose(which: (parcel: Parcel) => boolean): void {
    for (let i = this.#onTheWay.length - 1; i >= 0; i--) {
      const parcel = this.#onTheWay[i] as Parcel;
      if (!which(parcel)) continue;
      parcel.cancel();
      this.#onTheWay.splice(i, 1);
      const held = this.other.#held.indexOf(parcel);
      if (held >= 0) this.other.#held.splice(held, 1);
    }
    this.#lastArrivalMs = this.#onTheWay.reduce((latest, parcel) => Math.max(latest, parcel.arrivalMs), 0);
  }

  #notice(reason: Error, afterMs: number): void {
    this.#wire.clock.on(this.thread, afterMs, 'net.reset', () => this.#end(reason));
  }

  #end(reason: Error | undefined): void {
    if (this.#state === 'closed') return;
    // Who closed by itself asked for the end, whatever happened then.
    this.#ended = { reason: this.#state === 'closing' ? undefined : reason };
    this.#state = 'closed';
    if (this.#closeHandler !== undefined) this.#tell();
  }

  /** In an event of its own, so that the handler never runs inside one of the thread's own calls. */
  #tell(): void {
    const handler = this.#closeHandler;
    const ended = this.#ended;
    this.#ended = undefined;
    if (handler === undefined || ended === undefined) return;
    this.#wire.clock.on(this.thread, 0, 'net.onClose', () => handler(ended.reason));
  }
}
