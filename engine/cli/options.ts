import { InvalidArgumentError } from 'commander';

/** Parsers of option values; a bad value is one line that names the option, and exit code 2. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(
        `It must be a whole number, ${least}${most === Number.MAX_SAFE_INTEGER ? ' or more' : ` to ${most}`}.`,
      );
    }
    return value;
  };
}

/** A path; an empty one is a mistake in a script, not the current folder. */
export function folder(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('It must name a folder.');
  return text;
}

export function parameter(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be name=value.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
