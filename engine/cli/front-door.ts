import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { MillraceError } from '../../base/index.js';
import { wholeNumber } from './options.js';

const TOKEN_BYTES_MIN = 16;
const TOKEN_BYTES_MAX = 256;
const TOKEN_BYTES = 32;

/** Options of a run's front door, as commander gives them. */
export interface FrontDoorFlags {
  readonly httpPort?: number;
  readonly httpHost: string;
  readonly tokenFile?: string;
}

/** Where a run serves its daemon's front door. */
export interface FrontDoorPlace {
  readonly host: string;
  readonly port: number;
  /** Undefined: one of the run's own. */
  readonly tokenFile: string | undefined;
}

export function addFrontDoorOptions(command: Command): Command {
  return command
    .option(
      '--http-port <n>',
      "serves the daemon's front door there while the job runs: its state (`millrace state`), health, metrics; 0 takes a free port",
      wholeNumber(0, 65_535),
    )
    .option('--http-host <address>', 'address that it listens on', '127.0.0.1')
    .option(
      '--token-file <file>',
      'hex token that its clients must know, 16 bytes or more (default: a new one, in a file of the run)',
    );
}

/** The front door that these flags ask for. @throws MillraceError `OPTION` (invalid). */
export function frontDoor(flags: FrontDoorFlags): FrontDoorPlace | undefined {
  const { httpPort, httpHost, tokenFile } = flags;
  if (httpPort === undefined) {
    if (tokenFile !== undefined) throw new MillraceError('invalid', 'OPTION', '--token-file: only with --http-port');
    return undefined;
  }
  return { host: httpHost, port: httpPort, tokenFile: tokenFile === undefined ? undefined : resolve(tokenFile) };
}

/** The token of a daemon's clients. @throws MillraceError `OPTION` (invalid). */
export function readToken(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (thrown) {
    throw new MillraceError('invalid', 'OPTION', `--token-file: ${(thrown as Error).message}`, { cause: thrown });
  }
  if (/^([0-9a-f]{2})+$/i.test(text) && text.length >= 2 * TOKEN_BYTES_MIN && text.length <= 2 * TOKEN_BYTES_MAX)
    return text;
  throw new MillraceError(
    'invalid',
    'OPTION',
    `--token-file: ${file} must hold ${TOKEN_BYTES_MIN} to ${TOKEN_BYTES_MAX} bytes in hex`,
  );
}

/**
 * What clients of a front door must know: as the named file says, or a new one, in a file of its own folder that only its user
 * may read.
 * @throws MillraceError `OPTION` (invalid).
 */
export function frontDoorToken(
  place: { readonly tokenFile?: string | undefined },
  folder: string,
): { readonly token: string; readonly tokenFile: string } {
  if (place.tokenFile !== undefined) return { token: readToken(place.tokenFile), tokenFile: resolve(place.tokenFile) };
  const token = randomBytes(TOKEN_BYTES).toString('hex');
  const tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 });
  return { token, tokenFile };
}

/** Also when the rest is quiet: whoever asked for it must know where it is. */
export function sayFrontDoor({ address, tokenFile }: { readonly address: string; readonly tokenFile: string }): void {
  process.stderr.write(`http: ${address}, its token in ${tokenFile}\n`);
}
