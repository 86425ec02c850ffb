/**
 * The receiving half that every Connection shares: frames that arrive before `onFrame` wait, a close is told exactly
 * once, after the frames before it, and nothing is delivered after this side closed.
 */
export class ConnectionEvents {
  #frameHandler: ((frame: Uint8Array) => void) | undefined;
  #closeHandler: ((reason: Error | undefined) => void) | undefined;
  #waiting: Uint8Array[] = [];
  #muted = false;
  #ended: { readonly reason: Error | undefined } | undefined;
  #told = false;

  frame(frame: Uint8Array): void {
    if (this.#muted || this.#ended !== undefined) return;
    if (this.#frameHandler === undefined || this.#waiting.length > 0) this.#waiting.push(frame);
    else this.#frameHandler(frame);
  }

  /** This side closed: what still arrives is dropped. */
  mute(): void {
    this.#muted = true;
    this.#waiting.length = 0;
  }

  /** The connection is over. Later calls change nothing. */
  end(reason: Error | undefined): void {
    if (this.#ended !== undefined) return;
    this.#ended = { reason: this.#muted ? undefined : reason };
    this.#tellEnd();
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#frameHandler = handler;
    if (this.#waiting.length > 0 || this.#ended !== undefined) queueMicrotask(() => this.#deliverWaiting());
  }

  onClose(handler: (reason: Error | undefined) => void): void {
    this.#closeHandler = handler;
    if (this.#ended !== undefined) queueMicrotask(() => this.#tellEnd());
  }

  #deliverWaiting(): void {
    for (let frame = this.#waiting.shift(); frame !== undefined; frame = this.#waiting.shift()) {
      this.#frameHandler?.(frame);
    }
    this.#tellEnd();
  }

  #tellEnd(): void {
    if (this.#ended === undefined || this.#closeHandler === undefined || this.#told || this.#waiting.length > 0) return;
    this.#told = true;
    this.#closeHandler(this.#ended.reason);
  }
}
