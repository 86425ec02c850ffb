import { type ChildProcess, spawn } from 'node:child_process';

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM');
});

/**
 * Runs a Node script as a process of its own and resolves with what it printed on stdout; stderr is this process's, unless `quiet`. It
 * does not outlive this process. Rejects when it ends with another exit code than 0, or one of `codes`.
 */
export async function wholeProcess(
  script: string,
  args: readonly string[],
  options: { readonly codes?: readonly number[]; readonly quiet?: boolean } = {},
): Promise<string> {
  const { codes = [0], quiet = false } = options;
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', quiet ? 'ignore' : 'inherit'] });
  running.add(child);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code === null || !codes.includes(code)) throw new Error(`${script} ended with exit code ${code}`);
    return text;
  } finally {
    running.delete(child);
  }
}
