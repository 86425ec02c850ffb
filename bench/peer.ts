import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, type Transferable, Worker } from 'node:worker_threads';

/** Another process or thread that does what it is told: the far side of what is measured. */
export interface Peer {
  /** Runs one of the methods that it serves. */
  call<T>(method: string, argument?: unknown): Promise<T>;
  stop(): Promise<void>;
  /** SIGKILL; a thread is terminated. */
  kill(): Promise<void>;
}

type Methods = Readonly<Record<string, (argument: never) => unknown>>;

interface Call {
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** Called once by a peer's module. The process ends with its parent. */
export function servePeer(methods: Methods): void {
  const reply = (answer: Answer) => (isMainThread ? process.send?.(answer) : parentPort?.postMessage(answer));
  const onCall = async ({ id, method, argument }: Call) => {
    try {
      reply({ id, result: await methods[method]?.(argument as never) });
    } catch (thrown) {
      reply({ id, error: `${method}: ${thrown instanceof Error ? thrown.message : String(thrown)}` });
    }
  };
  if (isMainThread) {
    process.on('message', onCall);
    process.on('disconnect', () => process.exit(0));
    // The parent went while an answer was on its way.
    process.on('error', () => process.exit(0));
    process.on('SIGINT', () => undefined);
  } else parentPort?.on('message', onCall);
}

/** A process that runs a module of `peers/`. */
export function startProcess(module: URL): Peer {
  const child: ChildProcess = fork(fileURLToPath(module), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const calls = new Calls((call) => child.send(call));
  child.on('message', (answer) => calls.settle(answer as Answer));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  exited.then(() => calls.fail(`${module.pathname} ended`));
  return {
    call: (method, argument) => calls.call(method, argument),
    async stop() {
      if (child.connected) child.disconnect();
      await exited;
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** A thread that runs a module of `peers/`; `given` is its workerData. */
export function startThread(module: URL, given: unknown, transferList: readonly Transferable[] = []): Peer {
  const worker = new Worker(module, { workerData: given, transferList: [...transferList] });
  const calls = new Calls((call) => worker.postMessage(call));
  worker.on('message', (answer: Answer) => calls.settle(answer));
  worker.on('error', (error) => calls.fail(error.message));
  worker.on('exit', () => calls.fail(`${module.pathname} ended`));
  const stop = async () => void (await worker.terminate());
  return { call: (method, argument) => calls.call(method, argument), stop, kill: stop };
}

class Calls {
  readonly #send: (call: Call) => void;
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  #ids = 0;
  #failure: string | undefined;

  constructor(send: (call: Call) => void) {
    this.#send = send;
  }

  call<T>(method: string, argument: unknown): Promise<T> {
    if (this.#failure !== undefined) return Promise.reject(new Error(this.#failure));
    const id = this.#ids++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
      this.#send({ id, method, argument });
    });
  }

  settle({ id, result, error }: Answer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  fail(reason: string): void {
    this.#failure = reason;
    for (const { reject } of this.#waiting.values()) reject(new Error(reason));
    this.#waiting.clear();
  }
}
