/**
 * Ctrl-C and SIGTERM end a run in order: `stop` is called once, and the process exits when it has settled. A second signal does not
 * wait. Returns a function that removes the handlers.
 */
export function onInterrupt(stop: (signal: string) => Promise<void>, exitCode: number): () => void {
  let stopping = false;
  const handler = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(exitCode);
    stopping = true;
    stop(signal).then(
      () => process.exit(exitCode),
      () => process.exit(exitCode),
    );
  };
  process.on('SIGINT', handler);
  process.on('SIGTERM', handler);
  return () => {
    process.off('SIGINT', handler);
    process.off('SIGTERM', handler);
  };
}
