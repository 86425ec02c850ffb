import { type Disk, type DiskFile, MillraceError, type Random, silentLogger } from '../base/index.js';
import { type BlobStore, DirectoryBlobStore, TieredBlobStore } from '../checkpoint/index.js';
import type { Life } from './kills-life.js';
import type { KillsModel, ObjectsNow } from './kills-model.js';
import type { SimClock } from './sim-clock.js';
import { SimHostDisk } from './sim-disk.js';

const ROOT = '/store';

/** A simulated disk: with one folder that all processes share, each with a DirectoryBlobStore of its own, or with one a host. */
export class KillsDisk implements ObjectsNow {
  readonly #disk: SimHostDisk;
  #revision = 0;
  #version = '';
  #names: ReadonlySet<string> = new Set();

  constructor(clock: SimClock, random: Random, errorRate: number) {
    this.#disk = new SimHostDisk(clock, random, { callMs: [0.01, 0.3], syncMs: [0.05, 1] });
    this.#disk.faults.errorRate = errorRate;
  }

  calm(): void {
    this.#disk.faults.errorRate = 0;
  }

  /** The folder that all share. */
  openShared(life: Life): Promise<DirectoryBlobStore> {
    const disk = new MortalDisk(this.#disk.of(life.thread), life);
    return untilItWorks(life, () => DirectoryBlobStore.open({ disk, root: ROOT, random: life.random.fork() }));
  }

  /** A host's own folder before a remote store. */
  openTier(life: Life, remote: BlobStore, lateWriteMs: number): Promise<TieredBlobStore> {
    const disk = new MortalDisk(this.#disk.of(life.thread), life);
    const { clock, random } = life;
    const settings = { authority: 'remote', lateWriteMs, diskBytesMax: 5000, memoryBytesMax: 1000 } as const;
    return untilItWorks(life, () =>
      TieredBlobStore.open({
        disk,
        root: `/tiers/${life.name}`,
        remote,
        clock,
        random: random.fork(),
        logger: silentLogger(),
        settings,
      }),
    );
  }

  names(): Iterable<string> {
    const prefix = `${ROOT}/objects/`;
    const names = this.#disk.files.paths(prefix).map((path) => path.slice(prefix.length));
    return names.filter((name) => !name.includes('/.'));
  }

  bytes(name: string): Uint8Array | undefined {
    const path = `${ROOT}/objects/${name}`;
    const { files } = this.#disk;
    return files.stat(path) === undefined ? undefined : files.file(path).read(0, Number.POSITIVE_INFINITY);
  }

  /** What was not synced may be gone. Nobody may be using the disk. */
  powerCut(model: KillsModel): void {
    this.look(model);
    const before = this.#version;
    this.#disk.powerCut();
    this.#revision = this.#disk.files.revision;
    this.#names = new Set(this.names());
    this.#version = this.#newest();
    if (before !== '') model.rewound(this.#version === '' ? undefined : this.#head());
  }

  /** Tells the model what changed since the last look. */
  look(model: KillsModel): void {
    const { files } = this.#disk;
    if (files.revision === this.#revision) return;
    this.#revision = files.revision;
    const before = this.#names;
    this.#names = new Set(this.names());
    for (const name of before) if (!this.#names.has(name)) model.deleted(name);
    const version = this.#newest();
    if (version <= this.#version) return;
    this.#version = version;
    model.moved(this.#head());
  }

  #newest(): string {
    return this.#disk.files.list(`${ROOT}/values/HEAD`).at(-1) ?? '';
  }

  #head(): Uint8Array {
    return this.#disk.files.file(`${ROOT}/values/HEAD/${this.#version}`).read(0, Number.POSITIVE_INFINITY);
  }
}

/** At times the disk fails. */
async function untilItWorks<T>(life: Life, open: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await open();
    } catch (thrown) {
      if (!(thrown instanceof MillraceError) || thrown.kind !== 'unavailable') throw thrown;
      await life.sleep(1);
    }
  }
}

/** A process's disk, every call of which may be its last: it is then carried out, in part or not at all. */
class MortalDisk implements Disk {
  readonly #inner: Disk;
  readonly #life: Life;

  constructor(inner: Disk, life: Life) {
    this.#inner = inner;
    this.#life = life;
  }

  read(path: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#call('disk.read', () => this.#inner.read(path, range));
  }

  write(path: string, bytes: Uint8Array, options?: { readonly exclusive?: boolean }): Promise<void> {
    return this.#call('disk.write', () => this.#inner.write(path, bytes, options));
  }

  append(path: string): Promise<DiskFile> {
    return this.#call('disk.append', () => this.#inner.append(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call('disk.rename', () => this.#inner.rename(from, to));
  }

  link(from: string, to: string): Promise<void> {
    return this.#call('disk.link', () => this.#inner.link(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#call('disk.remove', () => this.#inner.remove(path));
  }

  makeFolder(path: string): Promise<void> {
    return this.#call('disk.makeFolder', () => this.#inner.makeFolder(path));
  }

  list(path: string): Promise<string[]> {
    return this.#call('disk.list', () => this.#inner.list(path));
  }

  stat(path: string): Promise<{ readonly bytes: number; readonly folder: boolean } | undefined> {
    return this.#call('disk.stat', () => this.#inner.stat(path));
  }

  #call<T>(what: string, send: () => Promise<T>): Promise<T> {
    const fate = this.#life.awaits(what);
    if (fate === 'unsent') this.#life.end();
    const answer = send();
    if (fate === 'sent' || fate === 'done') this.#life.end();
    return answer;
  }
}
