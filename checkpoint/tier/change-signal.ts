/** Lets many wait for "something changed": each looks again and, if it is not content, waits for the next time. */
export class ChangeSignal {
  #waiting: (() => void)[] = [];

  /** Resolves at the next `notify`. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Resolves when the condition holds, looking at it now and after each `notify`. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.next();
  }

  notify(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
