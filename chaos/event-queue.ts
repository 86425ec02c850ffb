import type { SimEvent } from './sim-thread.js';

function before(a: SimEvent, b: SimEvent): boolean {
  if (a.timeMs !== b.timeMs) return a.timeMs < b.timeMs;
  if (a.tie !== b.tie) return a.tie < b.tie;
  return a.seq < b.seq;
}

const COMPACT_AT = 4096;

/** Binary heap ordered by (time, tie, seq). Cancelled events are skipped, and swept out when they are the majority. */
export class EventQueue {
  #heap: SimEvent[] = [];
  #cancelled = 0;

  get size(): number {
    return this.#heap.length;
  }

  peek(): SimEvent | undefined {
    return this.#heap[0];
  }

  push(event: SimEvent): void {
    this.#heap.push(event);
    this.#up(this.#heap.length - 1);
  }

  pop(): SimEvent | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined) return undefined;
    if (top.run === undefined && !top.wake) this.#cancelled--;
    if (heap.length > 0) {
      heap[0] = last;
      this.#down(0);
    }
    return top;
  }

  /** The event's callback never runs. It may already have left the queue (then it waits in a thread's inbox, or ran). */
  cancel(event: SimEvent): void {
    if (event.run === undefined) return;
    event.run = undefined;
    this.#cancelled++;
    if (this.#cancelled > COMPACT_AT && this.#cancelled * 2 > this.#heap.length) this.#compact();
  }

  #compact(): void {
    this.#heap = this.#heap.filter((event) => event.run !== undefined || event.wake);
    this.#cancelled = 0;
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#down(i);
  }

  #up(start: number): void {
    const heap = this.#heap;
    const event = heap[start] as SimEvent;
    let i = start;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] as SimEvent;
      if (!before(event, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = event;
  }

  #down(start: number): void {
    const heap = this.#heap;
    const event = heap[start] as SimEvent;
    let i = start;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as SimEvent, heap[child] as SimEvent)) child++;
      const below = heap[child] as SimEvent;
      if (!before(below, event)) break;
      heap[i] = below;
      i = child;
    }
    heap[i] = event;
  }
}
