import { xxh64 } from '../base/index.js';
import type { InputGate, ShuffleEnvironment, ShuffleMaster, TaskWriter, WriterDescriptor } from '../shuffle/index.js';

/**
 * What passes through the shuffle SPI of every process: a sealed epoch publishes no more (3, 12), the bytes under one
 * number never change (2), and nothing is read that was not published (5).
 */
export class ShuffleWatch {
  readonly #violate: (code: string, message: string) => void;
  readonly #onTrim: (partition: string, seqs: readonly number[]) => void;
  readonly #sealed = new Map<string, number>();
  readonly #published = new Map<string, { epoch: number; position: number }>();
  /** First number not yet published, by subpartition; unknown on the wire, where publishing is not heard of at once. */
  readonly #visible = new Map<string, number>();
  readonly #read = new Map<string, bigint[]>();
  /** Which process opened a writer last. */
  readonly #owners = new Map<string, string>();
  readonly #onSealed = new Map<string, () => void>();
  buffers = 0;

  constructor(options: {
    readonly violate: (code: string, message: string) => void;
    readonly onTrim: (partition: string, seqs: readonly number[]) => void;
  }) {
    this.#violate = options.violate;
    this.#onTrim = options.onTrim;
  }

  /** Calls `fn` once, when a seal of one of this process's writers is known to have taken effect. */
  onceSealed(process: string, fn: () => void): void {
    this.#onSealed.set(process, fn);
  }

  /** Which process ran the newest attempt of a task. Writers are named `<job>/<task>/<attempt>`. */
  ownerOf(task: string): string | undefined {
    return [...this.#owners].findLast(([writer]) => writer.split('/')[1] === task)?.[1];
  }

  master(inner: ShuffleMaster): ShuffleMaster {
    return {
      register: (writer) => inner.register(writer),
      seal: async (writer, epoch) => {
        const answer = await inner.seal(writer, epoch);
        this.#sealedNow(writer, epoch, answer.tail);
        return answer;
      },
      trim: (partition, seqs) => {
        this.#onTrim(partition, seqs);
        return inner.trim(partition, seqs);
      },
      release: (writer) => inner.release(writer),
      releaseJob: (job) => inner.releaseJob(job),
      list: () => inner.list(),
      onEvent: (handler) => inner.onEvent(handler),
      close: () => inner.close(),
    };
  }

  /** What `process` reads and writes. `direct`: `publish` returns only when the step is visible. */
  environment(inner: ShuffleEnvironment, process: string, direct: boolean): ShuffleEnvironment {
    return {
      openWriter: async (descriptor) => {
        const sealed = this.#sealed.get(descriptor.writer) ?? 0;
        const writer = await inner.openWriter(descriptor);
        this.#owners.set(descriptor.writer, process);
        if (sealed > descriptor.epoch) {
          this.#violate(
            'OPENED_AFTER_SEAL',
            `invariant 12: ${descriptor.writer} was opened with epoch ${descriptor.epoch} after seal(${sealed})`,
          );
        }
        return direct ? this.#writer(descriptor, writer) : writer;
      },
      openGate: async (channels) => this.#gate(await inner.openGate(channels), direct),
      close: () => inner.close(),
    };
  }

  #sealedNow(writer: string, epoch: number, tail: number): void {
    this.#sealed.set(writer, Math.max(epoch, this.#sealed.get(writer) ?? 0));
    const published = this.#published.get(writer);
    if (published !== undefined && published.epoch < epoch && published.position > tail) {
      this.#violate(
        'PUBLISHED_AFTER_SEAL',
        `invariant 3: ${writer} was sealed at ${tail} steps and has published ${published.position}`,
      );
    }
    const owner = this.#owners.get(writer) ?? '';
    const wake = this.#onSealed.get(owner);
    this.#onSealed.delete(owner);
    wake?.();
  }

  #writer(descriptor: WriterDescriptor, inner: TaskWriter): TaskWriter {
    return {
      partitions: inner.partitions,
      get position() {
        return inner.position;
      },
      get available() {
        return inner.available;
      },
      whenAvailable: (timeoutMs) => inner.whenAvailable(timeoutMs),
      stored: () => inner.stored(),
      publish: (determinants) => {
        const before = inner.position;
        const position = inner.publish(determinants);
        if (position !== before) this.#publishedNow(descriptor, inner, position);
        return position;
      },
      close: () => inner.close(),
    };
  }

  #publishedNow({ writer, epoch }: WriterDescriptor, inner: TaskWriter, position: number): void {
    this.#published.set(writer, { epoch, position });
    const sealed = this.#sealed.get(writer) ?? 0;
    if (sealed > epoch) {
      this.#violate(
        'PUBLISHED_AFTER_SEAL',
        `invariant 3: ${writer} published step ${position} with epoch ${epoch} after seal(${sealed})`,
      );
    }
    for (const partition of inner.partitions) {
      for (const [subpartition, { seq }] of partition.positions().entries()) {
        this.#visible.set(`${partition.descriptor.partition}[${subpartition}]`, seq);
      }
    }
  }

  #gate(inner: InputGate, direct: boolean): InputGate {
    return {
      channels: inner.channels,
      poll: () => {
        const buffer = inner.poll();
        if (buffer === undefined) return undefined;
        this.buffers++;
        const channel = inner.channels[buffer.channel];
        const name = `${channel?.partition}[${channel?.subpartition}]`;
        const visible = this.#visible.get(name) ?? 0;
        if (direct && buffer.seq >= visible)
          this.#violate(
            'READ_BEFORE_PUBLISHED',
            `invariant 5: ${name} was read at ${buffer.seq}, published are ${visible}`,
          );
        const read = this.#read.get(name) ?? [];
        this.#read.set(name, read);
        const sum = xxh64(buffer.bytes, BigInt(buffer.kind));
        const before = read[buffer.seq];
        read[buffer.seq] = sum;
        if (before !== undefined && before !== sum)
          this.#violate('BUFFER_CHANGED', `invariant 2: ${name} has other bytes at ${buffer.seq} than before`);
        return buffer;
      },
      whenAvailable: (timeoutMs) => inner.whenAvailable(timeoutMs),
      pause: (channel) => inner.pause(channel),
      resume: (channel) => inner.resume(channel),
      positions: () => inner.positions(),
      close: () => inner.close(),
    };
  }
}
