import type { Clock, Logger } from '../../base/index.js';
import { reasonOf } from './blob-errors.js';

/**
 * Tells an outage of a store from a hiccup, and says so once when it begins and once when it ends. An outage is a time of
 * `afterMs` or more in which calls failed and none was answered: a store that fails every tenth call is not away.
 */
export class OutageWatch {
  readonly #location: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #afterMs: number;
  /** Time of the first failure since the last answer. */
  #failingSinceMs: number | undefined;
  #failures = 0;
  #said = false;

  constructor(options: {
    readonly location: string;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly afterMs?: number;
  }) {
    this.#location = options.location;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#afterMs = options.afterMs ?? 1_000;
  }

  /** How long the outage lasts so far; undefined while there is none. */
  get awayMs(): number | undefined {
    return this.#said ? this.#clock.monotonicMs() - (this.#failingSinceMs as number) : undefined;
  }

  /** A call got an answer, be it a no. */
  answered(): void {
    if (this.#failingSinceMs === undefined) return;
    const awayMs = Math.round(this.#clock.monotonicMs() - this.#failingSinceMs);
    const failures = this.#failures;
    const said = this.#said;
    this.#failingSinceMs = undefined;
    this.#failures = 0;
    this.#said = false;
    if (said) this.#logger.info({ location: this.#location, awayMs, failures }, 'the blob store answers again');
  }

  /** A call got none. `final`: its caller gives up, which is an outage however short. */
  failed(what: string, thrown: unknown, final = false): void {
    const nowMs = this.#clock.monotonicMs();
    this.#failingSinceMs ??= nowMs;
    this.#failures++;
    if (this.#said || (!final && nowMs - this.#failingSinceMs < this.#afterMs)) return;
    this.#said = true;
    this.#logger.warn(
      { location: this.#location, call: what, reason: reasonOf(thrown) },
      'the blob store does not answer',
    );
  }
}
