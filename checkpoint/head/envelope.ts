import { checksumHex, MillraceError, xxh64 } from '../../base/index.js';
import { sealedMagic } from '../blob/sealed-blob.js';

/** What stands in an envelope; also the first part of the codes of its errors. */
export type EnvelopeKind = 'head' | 'manifest' | 'savepoint';

/** `millrace-<kind> <format> <xxh64 of the JSON line, 16 hex digits>\n<JSON>\n`: read by eye, checked as a whole. */
export function sealEnvelope(kind: EnvelopeKind, format: number, value: object): Uint8Array {
  const json = Buffer.from(JSON.stringify(value), 'utf8');
  const line = `millrace-${kind} ${format} ${checksumHex(xxh64(json))}\n`;
  return Buffer.concat([Buffer.from(line, 'utf8'), json, Buffer.from('\n')]);
}

/**
 * @throws MillraceError `<KIND>_VERSION` (invalid) naming both formats when another version wrote it; `<KIND>_CORRUPT` (corrupt);
 *   `BLOB_KEY_UNKNOWN` (invalid): it is encrypted.
 */
export function openEnvelope(kind: EnvelopeKind, format: number, bytes: Uint8Array, location: string): unknown {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const damaged = (why: string, cause?: unknown) =>
    new MillraceError('corrupt', `${kind.toUpperCase()}_CORRUPT`, `${location}: the ${kind} is damaged (${why})`, {
      cause,
      context: { location },
    });
  const lineEnd = text.indexOf(10);
  const line = /^millrace-([a-z]+) (\d{1,9}) ([0-9a-f]{16})$/.exec(text.subarray(0, Math.max(0, lineEnd)).toString());
  if (text.subarray(0, sealedMagic.length).equals(sealedMagic)) {
    const message = `${location}: the ${kind} is encrypted, and no key was given (--checkpoint-key-file)`;
    throw new MillraceError('invalid', 'BLOB_KEY_UNKNOWN', message, { context: { location } });
  }
  if (line === null || line[1] !== kind) throw damaged('no header line');
  if (Number(line[2]) !== format) {
    throw new MillraceError(
      'invalid',
      `${kind.toUpperCase()}_VERSION`,
      `${location}: the ${kind} has format ${line[2]}, this version of Millrace reads format ${format}`,
      { context: { location, found: Number(line[2]), supported: format } },
    );
  }
  if (text[text.length - 1] !== 10) throw damaged('cut short');
  const json = text.subarray(lineEnd + 1, text.length - 1);
  if (checksumHex(xxh64(json)) !== line[3]) throw damaged('checksum');
  try {
    return JSON.parse(json.toString('utf8'));
  } catch (thrown) {
    throw damaged('not JSON', thrown);
  }
}
