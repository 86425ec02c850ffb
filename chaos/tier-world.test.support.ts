import { MillraceError, type Random, seededRandom, sleep } from '../base/index.js';
import {
  type BlobStore,
  type BlobStoreFaults,
  FaultyBlobStore,
  type TierAuthority,
  TieredBlobStore,
  type TierSettings,
} from '../checkpoint/index.js';
import type { SimContext, SimProcess } from './sim-process.js';
import { SimWorld } from './sim-world.js';
import { decodeSimHead, encodeSimHead, type SimHead, SimRemote } from './tier-remote.test.support.js';

export interface TierRunOptions {
  readonly seed: number;
  readonly authority: TierAuthority;
  /** Replaces the store under test by one that is broken on purpose. */
  readonly mutant?: (store: TieredBlobStore, remote: BlobStore) => BlobStore;
}

export interface TierReport {
  kills: number;
  powerCuts: number;
  puts: number;
  moves: number;
  mirrored: number;
  deletes: number;
  reads: number;
  outages: number;
  refusals: Record<string, number>;
  lostResponses: number;
  landedLate: number;
  events: number;
}

const MINUTE = 60_000;
const LATE_MS = 4 * MINUTE;
const CALM_AT_MS = 12 * MINUTE;
const END_MS = 60 * MINUTE;

/** Each name says what its object holds. */
function bytesOf(name: string): Uint8Array {
  const size = Number(name.split('-')[2]);
  const bytes = new Uint8Array(Buffer.alloc(size, name));
  // Not periodic where it would hide an exchange of chunks.
  for (let at = 0; at < size; at += 4096) bytes[at] = (at / 4096) & 255;
  return bytes;
}

/**
 * Owners of checkpoints, each on a host of its own with a tier over one remote, that put, move their head, delete what it
 * no longer refers to and read, while they are killed at any event, lose power, find the disk full and the remote away.
 * Then it is calm, and what is left must be exactly what the heads refer to, everywhere.
 */
export async function runTierScenario(options: TierRunOptions): Promise<TierReport> {
  const { seed, authority } = options;
  const draw = seededRandom(seed ^ 0x7157);
  const world = new SimWorld({ seed, disk: draw.chance(0.3) ? { capacityBytes: 1_000_000 } : {} });
  const remote = new SimRemote(world);
  const report: TierReport = {
    kills: 0,
    powerCuts: 0,
    puts: 0,
    moves: 0,
    mirrored: 0,
    deletes: 0,
    reads: 0,
    outages: 0,
    refusals: {},
    lostResponses: 0,
    landedLate: 0,
    events: 0,
  };
  const hosts = authority === 'local' ? ['h1'] : ['h1', 'h2'];
  const scenario = new TierScenario(world, remote, report, options, draw);
  for (const host of hosts) scenario.start(host);
  scenario.scheduleFaults(hosts);
  const result = await world.run({ untilMs: END_MS, until: () => scenario.done(hosts) });
  if (!scenario.done(hosts)) {
    throw new Error(`seed ${seed}: not done after ${END_MS} ms (${result.reason})\n${world.trace.last(30).join('\n')}`);
  }
  for (const { process, error } of world.crashes)
    throw new Error(`seed ${seed}: ${process} crashed: ${error}`, { cause: error });
  await scenario.judge(hosts);
  report.mirrored = remote.moves;
  report.landedLate = remote.landedLate;
  report.events = result.events;
  return report;
}

class TierScenario {
  readonly #world: SimWorld;
  readonly #remote: SimRemote;
  readonly #report: TierReport;
  readonly #options: TierRunOptions;
  readonly #draw: Random;
  readonly #faults: BlobStoreFaults = { errorRate: 0, lostResponseRate: 0, delayMs: [5, 60], outage: false };
  readonly #late = { rate: 0, maxMs: LATE_MS };
  readonly #settings: Partial<TierSettings>;
  /** What outlives a process in the memory of whoever judges: highest acknowledged head by host, what was deleted. */
  readonly #acknowledged = new Map<string, SimHead>();
  readonly #deleted = new Set<string>();
  readonly #done = new Set<string>();
  readonly #countdown = new Map<SimProcess, number>();
  #objects = 0;

  constructor(world: SimWorld, remote: SimRemote, report: TierReport, options: TierRunOptions, draw: Random) {
    this.#world = world;
    this.#remote = remote;
    this.#report = report;
    this.#options = options;
    this.#draw = draw;
    this.#settings = {
      memoryBytesMax: draw.chance(0.5) ? 0 : 1_000_000,
      diskBytesMax: draw.below(3) * 150_000,
      pendingBytesMax: draw.chance(0.3) ? 250_000 : 2_000_000,
      uploadsMax: 1 + draw.below(4),
      uploadBytesPerSecondMax: draw.chance(0.3) ? 20_000 : Number.POSITIVE_INFINITY,
      lateWriteMs: LATE_MS + MINUTE,
    };
    this.#faults.errorRate = draw.chance(0.5) ? 0.1 * draw.float() : 0;
    this.#faults.lostResponseRate = draw.chance(0.5) ? 0.2 * draw.float() : 0;
    this.#late.rate = draw.chance(0.5) ? 0.1 * draw.float() : 0;
    world.clock.onSettled((thread) => {
      for (const [process, events] of this.#countdown) {
        if (!process.threads.includes(thread as never)) continue;
        this.#countdown.set(process, events - 1);
        if (events > 1) continue;
        this.#countdown.delete(process);
        report.kills++;
        process.kill();
      }
    });
  }

  start(host: string): void {
    const process = this.#world.spawn(`owner-${host}`, host, (context) => this.#own(context));
    if (this.#calm) return;
    this.#countdown.set(process, 1 + this.#draw.below(this.#draw.chance(0.5) ? 200 : 3_000));
    process.onExit(undefined, () => {
      this.#countdown.delete(process);
      this.#world.clock.at(this.#draw.float() * 3_000, 'respawn', () => this.start(host));
    });
  }

  scheduleFaults(hosts: readonly string[]): void {
    const { clock } = this.#world;
    const during = (fn: (on: boolean) => void, maxMs: number) => {
      const from = this.#draw.float() * CALM_AT_MS;
      const forMs = this.#draw.float() * maxMs;
      clock.at(from, 'fault', () => fn(true));
      clock.at(Math.min(from + forMs, CALM_AT_MS), 'fault ends', () => fn(false));
    };
    for (let i = this.#draw.below(3); i > 0; i--) {
      this.#report.outages++;
      during((on) => {
        this.#faults.outage = on;
      }, 5 * MINUTE);
    }
    for (const host of hosts) {
      const { faults } = this.#world.host(host).disk;
      if (this.#draw.chance(0.4)) during((on) => (faults.full = on), MINUTE);
      if (this.#draw.chance(0.3)) during((on) => (faults.errorRate = on ? 0.02 : 0), 2 * MINUTE);
      if (this.#draw.chance(0.3)) {
        clock.at(this.#draw.float() * CALM_AT_MS, 'power', () => {
          this.#report.powerCuts++;
          this.#world.reboot(host);
        });
      }
    }
    clock.at(CALM_AT_MS, 'calm', () => {
      Object.assign(this.#faults, { errorRate: 0, lostResponseRate: 0, outage: false });
      this.#late.rate = 0;
      this.#countdown.clear();
      for (const host of hosts) {
        Object.assign(this.#world.host(host).disk.faults, { full: false, errorRate: 0 });
      }
    });
  }

  done(hosts: readonly string[]): boolean {
    return hosts.every((host) => this.#done.has(host));
  }

  /** After all: the remote alone holds every acknowledged head and what it stands on, and there is nothing else anywhere. */
  async judge(hosts: readonly string[]): Promise<void> {
    const refs: string[] = [];
    for (const host of hosts) {
      const head = decodeSimHead((await this.#remote.store.read(headOf(host)))?.bytes);
      this.#expect(head.n >= (this.#acknowledged.get(host)?.n ?? 0), `${host}: head ${head.n} at the remote is old`);
      refs.push(...head.refs);
      for (const ref of head.refs) this.#same(ref, await this.#remote.store.get(ref));
      const { files } = this.#world.host(host).disk;
      const names = (folder: string) => files.paths(`/tier/${folder}/`).map((path) => path.slice(folder.length + 7));
      for (const folder of ['pending', 'deleted', 'temp']) {
        this.#expect(names(folder).length === 0, `${host}: left in ${folder}: ${names(folder).join(' ')}`);
      }
      const known = this.#options.authority === 'local' ? head.refs : refs;
      if (this.#options.authority === 'local') this.#equal(names('uploaded'), known, `${host}: uploaded`);
      const cached = names('cache');
      if (this.#options.authority === 'local') {
        this.#expect(
          cached.every((name) => known.includes(name)),
          `${host}: cached without need: ${cached}`,
        );
      }
    }
    this.#equal(await this.#remote.store.list(''), refs, 'objects at the remote');
  }

  get #calm(): boolean {
    return this.#world.clock.timeMs >= CALM_AT_MS;
  }

  async #own(context: SimContext): Promise<void> {
    const { clock, random } = context;
    const inner = new FaultyBlobStore({
      inner: this.#remote.view(random.fork(), this.#late),
      clock,
      random: random.fork(),
    });
    // Shared by all processes: the faults are the remote's.
    Object.defineProperty(inner, 'faults', { value: this.#faults });
    const tiered = await this.#untilDone(context, () => this.#open(context, inner));
    const store = this.#options.mutant?.(tiered, inner) ?? tiered;
    const owner = new Owner(this, context, store);
    await owner.resume();
    while (!this.#calm) {
      await owner.step();
      await sleep(clock, random.float() * (random.chance(0.1) ? 20_000 : 1_500));
      this.#report.lostResponses += inner.lostResponses;
      inner.lostResponses = 0;
    }
    // Late landings end, then one collection must find all.
    if (this.#options.authority === 'remote') await sleep(clock, LATE_MS);
    await owner.collect();
    await tiered.drain();
    await sleep(clock, LATE_MS + 2 * MINUTE);
    await tiered.drain();
    await owner.readAll();
    await tiered.close();
    // What a failing disk kept from being removed goes, or comes to light, at the next open.
    const again = await this.#open(context, inner);
    const reader = new Owner(this, context, this.#options.mutant?.(again, inner) ?? again);
    await reader.resume();
    await again.drain();
    await reader.collect();
    if (this.#options.authority === 'local') await sleep(clock, LATE_MS + 2 * MINUTE);
    await again.drain();
    await reader.readAll();
    await again.close();
    this.#done.add(context.host);
  }

  #open({ disk, clock, random, logger }: SimContext, remote: BlobStore): Promise<TieredBlobStore> {
    const settings = { ...this.#settings, authority: this.#options.authority };
    return TieredBlobStore.open({ disk, root: '/tier', remote, clock, random, logger, settings });
  }

  async #untilDone<T>({ clock }: SimContext, call: () => Promise<T>): Promise<T> {
    for (;;) {
      const result = await this.attempt(call);
      if (result !== undefined) return result.value;
      await sleep(clock, 500);
    }
  }

  /** Undefined when it was refused for reasons that an owner must expect; these are counted. */
  async attempt<T>(call: () => Promise<T>): Promise<{ readonly value: T } | undefined> {
    try {
      return { value: await call() };
    } catch (thrown) {
      if (!(thrown instanceof MillraceError) || thrown.kind !== 'unavailable') throw thrown;
      if (thrown.code === 'BLOB_NOT_FOUND') throw thrown;
      this.#report.refusals[thrown.code] = (this.#report.refusals[thrown.code] ?? 0) + 1;
      return undefined;
    }
  }

  newName(context: SimContext): string {
    const { random } = context;
    const size = random.chance(0.1) ? random.below(200_000) : random.below(4_000);
    return `seg/${context.host}-${this.#objects++}-${size}-${random.nonce()}`;
  }

  bytes(name: string): Uint8Array {
    return bytesOf(name);
  }

  async putDone(name: string): Promise<void> {
    this.#report.puts++;
    if (this.#options.authority === 'remote') this.#same(name, await this.#remote.store.get(name));
  }

  moved(host: string, head: SimHead): void {
    this.#report.moves++;
    this.#acknowledged.set(host, head);
  }

  /** The head that a process finds must be no older than the last acknowledged one. */
  found(host: string, head: SimHead): void {
    const known = this.#acknowledged.get(host)?.n ?? 0;
    this.#expect(head.n >= known, `${host}: head ${head.n} was found, ${known} was acknowledged`);
  }

  deleting(name: string): void {
    this.#report.deletes++;
    this.#deleted.add(name);
  }

  read(name: string, bytes: Uint8Array, offset = 0, length = Number.POSITIVE_INFINITY): void {
    this.#report.reads++;
    this.#same(name, bytes, offset, length);
  }

  otherHeads(host: string): SimHead[] {
    return [...this.#acknowledged].filter(([other]) => other !== host).map(([, head]) => head);
  }

  isDeleted(name: string): boolean {
    return this.#deleted.has(name);
  }

  #same(name: string, bytes: Uint8Array, offset = 0, length = Number.POSITIVE_INFINITY): void {
    const expected = bytesOf(name).subarray(offset, offset + length);
    this.#expect(Buffer.compare(expected, bytes) === 0, `${name}: other bytes (${offset} + ${length})`);
  }

  #equal(names: readonly string[], expected: readonly string[], what: string): void {
    const few = (from: readonly string[], without: readonly string[]) => {
      const rest = from.filter((name) => !without.includes(name));
      return rest.length === 0 ? 'none' : `${rest.slice(0, 3).join(' ')} (${rest.length})`;
    };
    const [surplus, missing] = [few(names, expected), few(expected, names)];
    this.#expect(surplus === missing, `${what}: too many: ${surplus}, missing: ${missing}`);
  }

  #expect(condition: boolean, message: string): void {
    if (condition) return;
    const error = this.#world.clock.violate('TIER', message);
    throw new Error(`seed ${this.#options.seed}: ${error.message}\n${this.#world.trace.last(30).join('\n')}`);
  }
}

/** One process: it knows only what it reads. */
class Owner {
  readonly #scenario: TierScenario;
  readonly #context: SimContext;
  readonly #store: BlobStore;
  readonly #name: string;
  #head: SimHead = { n: 0, refs: [] };
  #version: string | undefined;

  constructor(scenario: TierScenario, context: SimContext, store: BlobStore) {
    this.#scenario = scenario;
    this.#context = context;
    this.#store = store;
    this.#name = headOf(context.host);
  }

  async resume(): Promise<void> {
    for (;;) {
      const read = await this.#scenario.attempt(() => this.#store.read(this.#name));
      if (read !== undefined) {
        this.#head = decodeSimHead(read.value?.bytes);
        this.#version = read.value?.version;
        this.#scenario.found(this.#context.host, this.#head);
        return;
      }
      await sleep(this.#context.clock, 300);
    }
  }

  async step(): Promise<void> {
    const { random } = this.#context;
    if (random.chance(0.1)) await this.#collectOnce();
    const names = Array.from({ length: random.below(4) }, () => this.#scenario.newName(this.#context));
    const puts = await Promise.all(
      names.map((name) => this.#scenario.attempt(() => this.#store.put(name, this.#scenario.bytes(name)))),
    );
    const put = names.filter((_, i) => puts[i] !== undefined);
    for (const name of put) await this.#scenario.putDone(name);
    if (random.chance(0.2)) return;
    const kept = this.#head.refs.filter(() => random.chance(this.#head.refs.length > 8 ? 0.6 : 0.85));
    const dropped = this.#head.refs.filter((ref) => !kept.includes(ref));
    if (!(await this.#move({ n: this.#head.n + 1, refs: [...kept, ...put] }))) return;
    if (random.chance(0.8)) await Promise.all(dropped.map((name) => this.#delete(name)));
    await this.#readSome();
  }

  /** Until it succeeds. */
  async collect(): Promise<void> {
    while (!(await this.#collectOnce())) await sleep(this.#context.clock, 500);
  }

  async readAll(): Promise<void> {
    for (const name of this.#head.refs) this.#scenario.read(name, await this.#store.get(name));
    const head = decodeSimHead((await this.#store.read(this.#name))?.bytes);
    this.#scenario.found(this.#context.host, head);
  }

  async #move(head: SimHead): Promise<boolean> {
    const bytes = encodeSimHead(head);
    const moved = await this.#scenario.attempt(() => this.#store.compareAndSet(this.#name, this.#version, bytes));
    if (moved === undefined) {
      await this.#settleMove();
      return false;
    }
    this.#head = head;
    this.#version = moved.value;
    this.#scenario.moved(this.#context.host, head);
    return true;
  }

  /** Nobody knows whether it moved, or will: a move to the same settles that, as a takeover would. */
  async #settleMove(): Promise<void> {
    for (;;) {
      await this.resume();
      const head = { n: this.#head.n + 1, refs: this.#head.refs };
      try {
        const move = () => this.#store.compareAndSet(this.#name, this.#version, encodeSimHead(head));
        const moved = await this.#scenario.attempt(move);
        if (moved !== undefined) {
          this.#head = head;
          this.#version = moved.value;
          this.#scenario.moved(this.#context.host, head);
          return;
        }
      } catch (thrown) {
        if (!(thrown instanceof MillraceError) || thrown.code !== 'CAS_CONFLICT') throw thrown;
      }
      await sleep(this.#context.clock, 300);
    }
  }

  async #collectOnce(): Promise<boolean> {
    const listed = await this.#scenario.attempt(() => this.#store.list(`seg/${this.#context.host}-`));
    if (listed === undefined) return false;
    const dead = listed.value.filter((name) => !this.#head.refs.includes(name));
    const deleted = await Promise.all(dead.map((name) => this.#delete(name)));
    return deleted.every((done) => done);
  }

  async #delete(name: string): Promise<boolean> {
    this.#scenario.deleting(name);
    return (await this.#scenario.attempt(() => this.#store.delete(name))) !== undefined;
  }

  async #readSome(): Promise<void> {
    const { random } = this.#context;
    for (const name of this.#head.refs) {
      if (!random.chance(0.3)) continue;
      const size = this.#scenario.bytes(name).byteLength;
      const range = { offset: random.below(size + 1), length: 1 + random.below(100_000) };
      if (random.chance(0.5)) {
        const bytes = await this.#scenario.attempt(() => this.#store.get(name, range));
        if (bytes !== undefined) this.#scenario.read(name, bytes.value, range.offset, range.length);
      } else {
        const bytes = await this.#scenario.attempt(() => this.#store.get(name));
        if (bytes !== undefined) this.#scenario.read(name, bytes.value);
      }
    }
    for (const { refs } of this.#scenario.otherHeads(this.#context.host)) {
      const name = refs[0];
      if (name === undefined) continue;
      try {
        const bytes = await this.#scenario.attempt(() => this.#store.get(name));
        if (bytes !== undefined) this.#scenario.read(name, bytes.value);
      } catch (thrown) {
        // Its owner may delete it at any time.
        const gone = thrown instanceof MillraceError && thrown.code === 'BLOB_NOT_FOUND';
        if (!gone || !this.#scenario.isDeleted(name)) throw thrown;
      }
    }
  }
}

function headOf(host: string): string {
  return `HEAD-${host}`;
}
