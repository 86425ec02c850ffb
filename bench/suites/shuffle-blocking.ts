import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mappedMemory, nodeDisk, silentLogger, systemClock, systemRandom } from '../../base/index.js';
import { RegionStore, type WriterDescriptor } from '../../shuffle/index.js';
import { measure, type SuiteContext, secondsOf, size } from '../harness.js';
import { startProcess } from '../peer.js';
import { openHost, partitionOf } from './shuffle-host.js';

const PEER = new URL('../peers/shuffle-peer.js', import.meta.url);
const SUBPARTITIONS = 8;
const BUFFER_BYTES = 32 * 1024;
/** A sixteenth of what is written. */
const ARENA_BYTES = 64 * 1024 * 1024;
const PIECE = new Uint8Array(1024 * 1024).fill(7);

/**
 * A blocking partition of sixteen times the memory: written by one process, on disk with fdatasync, dropped from the page
 * cache, and read by another, subpartition by subpartition. MB/s of writing and reading together. Limit: a plain file, treated alike.
 */
export async function blockingRow(context: SuiteContext): Promise<void> {
  const { memoryFolder } = context;
  if (memoryFolder === undefined) return context.progress('shuffle.blocking left out: no memory-backed folder here');
  const buffers = size(context, (16 * ARENA_BYTES) / BUFFER_BYTES / SUBPARTITIONS, 10);
  const bytes = buffers * SUBPARTITIONS * BUFFER_BYTES;
  const spill = join(context.folder, 'spill');
  mkdirSync(spill);
  const folder = join(memoryFolder, 'blocking');
  mkdirSync(folder);
  const regions = await RegionStore.open({
    disk: nodeDisk(),
    folders: [spill],
    clock: systemClock(),
    random: systemRandom(),
    logger: silentLogger(),
    bootId: 'bench',
  });
  const clients = [startProcess(PEER), startProcess(PEER)] as const;
  const memory = mappedMemory({ folder });
  const settings = { arenaBytes: ARENA_BYTES };
  const host = await openHost(context, { name: 'blocking', memory, folder, clients, regions, settings });
  const [producer, consumer] = clients;
  let runs = 0;
  const value = async () => {
    const writer = blocking(`blocking-${runs++}`);
    await host.service.master.register(writer);
    const writing = await secondsOf(async () => {
      await producer.call('fill', { writer, buffers, bufferBytes: BUFFER_BYTES });
      // The record that all of it is on disk, for ever.
      while (!readdirSync(spill).some((name) => name.startsWith('finished'))) await pause(1);
    });
    for (const name of readdirSync(spill)) dropFromCache(join(spill, name));
    const order = { partition: partitionOf(writer.writer), subpartitions: SUBPARTITIONS };
    const reading = await secondsOf(async () => {
      const received = await consumer.call<number>('drain', order);
      if (received !== buffers * SUBPARTITIONS) throw new Error(`${received} buffers came back`);
    });
    await host.service.master.release(writer.writer);
    while (readdirSync(spill).length > 0) await pause(1);
    return (2 * bytes) / 1e6 / (writing + reading);
  };
  const limit = async () => {
    const path = join(context.folder, 'plain');
    const writing = await secondsOf(() => writePlain(path, bytes));
    dropFromCache(path);
    const reading = await secondsOf(() => readPlain(path, bytes));
    await rm(path);
    return (2 * bytes) / 1e6 / (writing + reading);
  };
  const spec = {
    name: 'shuffle.blocking',
    unit: 'MB/s',
    limitName: 'bare file, fdatasync, dropped from the page cache',
  };
  try {
    await measure(context, { ...spec, goal: { of: 'ratio', reach: 0.6, aim: 0.9 } }, value, limit);
  } finally {
    await host.close();
  }
}

function blocking(writer: string): WriterDescriptor {
  const shape = { subpartitions: SUBPARTITIONS, broadcast: false, consumers: 1 };
  return { writer, epoch: 1, partitions: [{ partition: partitionOf(writer), type: 'blocking', ...shape }] };
}

async function writePlain(path: string, bytes: number): Promise<void> {
  await withFile(path, 'w', async (file) => {
    for (let at = 0; at < bytes; at += PIECE.length) {
      await file.write(PIECE, 0, Math.min(PIECE.length, bytes - at), at);
    }
    await file.datasync();
  });
}

async function readPlain(path: string, bytes: number): Promise<void> {
  const piece = new Uint8Array(PIECE.length);
  await withFile(path, 'r', async (file) => {
    for (let at = 0; at < bytes; ) {
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw new Error(`${path} ends at ${at}`);
      at += bytesRead;
    }
  });
}

async function withFile(path: string, flags: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}

/** Without a right to anything: dd advises the kernel of it. */
function dropFromCache(path: string): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
