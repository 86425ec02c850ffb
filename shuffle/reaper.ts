import type { WriterRecord } from './writer-record.js';

/** How long a writer whose owner is gone stays when nothing happens to it, by what became of its data. */
export interface IdleLimits {
  /** All consumers have read all of it. */
  readonly idleConsumedMs: number;
  /** Some of it was read. */
  readonly idlePartlyConsumedMs: number;
  /** Nobody ever read it. */
  readonly idleNeverConsumedMs: number;
  /** It has no END, and nobody will write one any more. */
  readonly idleUnfinishedMs: number;
}

type Condition = 'consumed' | 'partly consumed' | 'never consumed' | 'unfinished';

/** Finds writers that nobody wants any more. What moves in their logs and cursors counts as a sign of life. */
export class Reaper {
  readonly #limits: IdleLimits;
  readonly #seen = new Map<string, { readonly signs: string; readonly sinceMs: number }>();

  constructor(limits: IdleLimits) {
    this.#limits = limits;
  }

  /** Of these, who has been idle for too long, and why it goes. `isWanted`: somebody who is here minds it. */
  expired(
    records: ReadonlyMap<string, WriterRecord>,
    nowMs: number,
    isWanted: (writer: string) => boolean,
  ): readonly { readonly writer: string; readonly reason: string }[] {
    for (const writer of [...this.#seen.keys()]) if (!records.has(writer)) this.#seen.delete(writer);
    const expired: { readonly writer: string; readonly reason: string }[] = [];
    for (const [writer, record] of records) {
      const condition = conditionOf(record);
      const signs = isWanted(writer) ? '' : `${condition} ${record.signsOfLife()}`;
      const seen = this.#seen.get(writer);
      if (signs === '' || seen?.signs !== signs) {
        this.#seen.set(writer, { signs, sinceMs: nowMs });
        continue;
      }
      if (nowMs - seen.sinceMs < this.#limitOf(condition)) continue;
      const seconds = Math.round((nowMs - seen.sinceMs) / 1000);
      expired.push({ writer, reason: `${condition}, its owner is gone, and nothing happened to it for ${seconds} s` });
    }
    return expired;
  }

  #limitOf(condition: Condition): number {
    switch (condition) {
      case 'consumed':
        return this.#limits.idleConsumedMs;
      case 'partly consumed':
        return this.#limits.idlePartlyConsumedMs;
      case 'never consumed':
        return this.#limits.idleNeverConsumedMs;
      case 'unfinished':
        return this.#limits.idleUnfinishedMs;
    }
  }
}

function conditionOf(record: WriterRecord): Condition {
  const { log, cursors } = record;
  let finished = true;
  let all = true;
  let some = false;
  for (const sub of record.subpartitions()) {
    finished &&= log.finished(sub.index) > 0;
    const consumers = log.descriptor.partitions[sub.partition]?.consumers ?? 0;
    for (let consumer = 0; consumer < consumers; consumer++) {
      const cursor = sub.cursor(consumer);
      some ||= cursors.generation(cursor) > 0;
      all &&= cursors.consumedLow(cursor) === (sub.next | 0);
    }
  }
  if (!finished) return 'unfinished';
  if (all) return 'consumed';
  return some ? 'partly consumed' : 'never consumed';
}
