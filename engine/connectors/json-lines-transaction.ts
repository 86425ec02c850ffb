import { createHash } from 'node:crypto';
import { type Disk, MillraceError } from '../../base/index.js';

/**
 * One file on its way from "being written" to "committed".
 *
 *     .pending/<subtask>-<attempt>-<n>.jsonl   --synced at pre-commit, then linked at commit-->   part-<subtask>-<checkpoint>.jsonl
 *
 * The pending name holds the attempt, so two attempts never write the same file, and it is closed before its description
 * leaves the attempt, so no zombie can add to what is committed. Linking (not renaming) never replaces a committed file.
 */
export interface JsonLinesTransaction {
  /** Name in `<folder>/.pending/`. */
  readonly pending: string;
  /** Name in `<folder>/`. */
  readonly final: string;
  readonly bytes: number;
  /** SHA-256 of the bytes, in hex. */
  readonly checksum: string;
}

export const PENDING_FOLDER = '.pending';

const FINAL_NAME = /^part-\d+-(\d+)\.jsonl$/;
const PENDING_NAME = /^\d+-[A-Za-z0-9_.%-]+-\d+\.jsonl$/;

export function pendingName(subtask: number, attempt: string, n: number): string {
  return `${subtask}-${encodeURIComponent(attempt)}-${n}.jsonl`;
}

/** True for any attempt's pending files of this subtask. */
export function isPendingOf(subtask: number, name: string): boolean {
  return name.startsWith(`${subtask}-`);
}

export function finalName(subtask: number, checkpointId: number): string {
  return `part-${subtask}-${checkpointId}.jsonl`;
}

export function encodeTransaction(t: JsonLinesTransaction): string {
  return JSON.stringify({ pending: t.pending, final: t.final, bytes: t.bytes, checksum: t.checksum });
}

/** @throws MillraceError `TRANSACTION_INVALID` (corrupt). Names are checked, so that no text can point outside the folder. */
export function decodeTransaction(text: string): JsonLinesTransaction {
  let t: Partial<Record<keyof JsonLinesTransaction, unknown>> = {};
  try {
    t = JSON.parse(text);
  } catch {
    // Said below.
  }
  const { pending, final, bytes, checksum } = t ?? {};
  if (
    typeof pending === 'string' &&
    PENDING_NAME.test(pending) &&
    typeof final === 'string' &&
    FINAL_NAME.test(final)
  ) {
    if (typeof bytes === 'number' && typeof checksum === 'string') return { pending, final, bytes, checksum };
  }
  throw new MillraceError('corrupt', 'TRANSACTION_INVALID', `not a transaction of a JSON-lines sink: ${text}`);
}

/**
 * Makes the transaction's file visible under its final name; doing it again changes nothing.
 * @throws MillraceError `TRANSACTION_LOST` (corrupt): neither name holds its bytes; `TRANSACTION_CONFLICT` (invalid): the
 * final name holds others.
 */
export async function commitTransaction(disk: Disk, folder: string, t: JsonLinesTransaction): Promise<void> {
  const pending = `${folder}/${PENDING_FOLDER}/${t.pending}`;
  const final = `${folder}/${t.final}`;
  const found = await disk.stat(pending);
  if (found !== undefined && found.bytes !== t.bytes) throw lost(pending, `holds ${found.bytes} bytes, not ${t.bytes}`);
  if (found === undefined || !(await linkUnlessThere(disk, pending, final))) await checkFinal(disk, pending, final, t);
  await disk.remove(pending);
}

/** False when the final name is taken or the pending one has gone meanwhile (another attempt committed it). */
async function linkUnlessThere(disk: Disk, pending: string, final: string): Promise<boolean> {
  try {
    await disk.link(pending, final);
    return true;
  } catch (e) {
    const code = MillraceError.from(e).code;
    if (code === 'DISK_EXISTS' || code === 'DISK_NOT_FOUND') return false;
    throw e;
  }
}

async function checkFinal(disk: Disk, pending: string, final: string, t: JsonLinesTransaction): Promise<void> {
  if ((await disk.stat(final)) === undefined) throw lost(pending, `and ${final} are both missing`);
  const bytes = await disk.read(final);
  if (bytes.length === t.bytes && createHash('sha256').update(bytes).digest('hex') === t.checksum) return;
  const message = `${final} holds other rows than the transaction ${t.pending}: the folder was written by another run; use an empty one`;
  throw new MillraceError('invalid', 'TRANSACTION_CONFLICT', message, { context: { path: final, pending: t.pending } });
}

function lost(path: string, what: string): MillraceError {
  return new MillraceError('corrupt', 'TRANSACTION_LOST', `committed rows are lost: ${path} ${what}`, {
    context: { path },
  });
}

/** Whether anything was ever committed into the folder. */
export async function holdsOutput(disk: Disk, folder: string): Promise<boolean> {
  return (await disk.list(folder)).some((name) => FINAL_NAME.test(name));
}

/** The newest checkpoint of which anything was committed into the folder; 0 for none. */
export async function newestOutput(disk: Disk, folder: string): Promise<number> {
  return Math.max(0, ...(await disk.list(folder)).map((name) => Number(FINAL_NAME.exec(name)?.[1] ?? 0)));
}

/**
 * The committed lines of a folder as an outsider reads them: files under their final names only, in name order.
 * @throws MillraceError `FILE_CORRUPT` (corrupt) when such a file ends in half a line.
 */
export async function readJsonLines(disk: Disk, folder: string): Promise<string[]> {
  const lines: string[] = [];
  for (const name of await disk.list(folder)) {
    if (!FINAL_NAME.test(name)) continue;
    const path = `${folder}/${name}`;
    const text = new TextDecoder().decode(await disk.read(path));
    if (!text.endsWith('\n')) {
      throw new MillraceError('corrupt', 'FILE_CORRUPT', `${path} ends in half a line`, { context: { path } });
    }
    for (const line of text.slice(0, -1).split('\n')) lines.push(line);
  }
  return lines;
}
