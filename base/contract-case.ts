/** One thing that every implementation of an interface must do. Each case wants a fresh subject: `runContractCase`. */
export interface ContractCase<S> {
  readonly name: string;
  run(subject: S): Promise<void>;
}

/** Runs one case on a fresh subject and closes it, however it ends. */
export async function runContractCase<S extends { close(): Promise<void> }>(
  contractCase: ContractCase<S>,
  make: () => Promise<S>,
): Promise<void> {
  const subject = await make();
  try {
    await contractCase.run(subject);
  } finally {
    await subject.close();
  }
}
