import { createHash } from 'node:crypto';
import type { Manifest } from '../checkpoint/index.js';
import type { TaskPosition } from '../engine/runtime/index.js';
import { auditCheckpoints, type CheckpointAudit, type Finding } from './audit-checkpoints.js';
import type { SimFileSystem } from './sim-file-system.js';
import type { SimulatedOutput } from './simulated-job.js';

export interface RunAudit extends CheckpointAudit {
  /** Of the host. */
  readonly files: SimFileSystem;
  readonly outputs: readonly SimulatedOutput[];
  /** Folders of others, who look after what is in them. */
  readonly elsewhere: readonly string[];
  /** Nothing was done to the run: nobody had a reason to leave anything half done. */
  readonly undisturbed: boolean;
}

/** As the sink `jsonLines` describes it in a checkpoint. */
interface Transaction {
  readonly pending: string;
  readonly final: string;
  readonly bytes: number;
  readonly checksum: string;
}

/**
 * What a job that has ended left on the disk, read by an outsider: its checkpoints; what the sinks committed; and nothing of the
 * shuffle's logs, nor anywhere else. All of it would outlast a power cut.
 */
export async function auditRun(audit: RunAudit): Promise<readonly Finding[]> {
  const { findings, latest } = await auditCheckpoints(audit);
  return [...findings, ...transactions(audit, latest), ...auditFiles(audit, latest)];
}

/** The last checkpoint holds what was to be committed behind it: that is done, of each the very bytes. */
function* transactions({ files, graph, outputs }: RunAudit, latest: Manifest | undefined): Generator<Finding> {
  for (const { task, position } of latest?.tasks ?? []) {
    const name = graph.vertices[Number(task.slice(1).split('.')[0])]?.nodes.at(-1)?.name;
    const folder = outputs.find((output) => name === `jsonLines(${output.folder})`)?.folder;
    for (const { transaction } of (JSON.parse(position) as TaskPosition).transactions) {
      const { pending, final, bytes, checksum } = JSON.parse(transaction) as Transaction;
      const wrong = (what: string): Finding => ({ code: 'TRANSACTION_OPEN', what: `${folder}/${final} ${what}` });
      if (files.stat(`${folder}/.pending/${pending}`) !== undefined) yield wrong(`is still there as ${pending} too`);
      const found = files.stat(`${folder}/${final}`);
      if (found?.bytes !== bytes) {
        yield wrong(`has ${found?.bytes ?? 'no'} bytes, the last checkpoint says ${bytes}`);
        continue;
      }
      const hash = createHash('sha256')
        .update(files.file(`${folder}/${final}`).read(0, bytes))
        .digest('hex');
      if (hash !== checksum) yield wrong('has other bytes than the last checkpoint says');
    }
  }
}

/** Every file there is: whose it is, and whether it stays. */
function* auditFiles(audit: RunAudit, latest: Manifest | undefined): Generator<Finding> {
  const { checkpoints, files, graph, outputs, elsewhere, undisturbed } = audit;
  // Whoever dies leaves its pins; who ends does not.
  for (const pin of undisturbed ? checkpoints.names('pins/') : [])
    yield { code: 'OBJECTS_LEAKED', what: `the job has ended, and ${pin} is still there` };
  for (const path of files.paths('/')) {
    if (elsewhere.some((folder) => path.startsWith(`${folder}/`))) continue;
    if (/^\/state\/checkpoints\/(objects|values)\//.test(path)) continue;
    const folder = path.slice(0, path.lastIndexOf('/'));
    // Removed by who opens the folder next, where its owner died.
    const isTemporary = folder === '/state/checkpoints/temp' || folder.endsWith('/.pending');
    if (isTemporary && !undisturbed) continue;
    const output = outputs.find((each) => each.folder === folder);
    const part = /^part-(\d+)-(\d+)\.jsonl$/.exec(path.slice(folder.length + 1));
    if (output === undefined || part === null) {
      yield { code: 'FILES_LEAKED', what: `the job has ended, and ${path} is still there` };
      continue;
    }
    const sink = graph.vertices.find(({ nodes }) => nodes.at(-1)?.name === `jsonLines(${folder})`);
    const [, subtask, checkpoint] = part.map(Number) as [number, number, number];
    if (subtask >= (sink?.parallelism ?? 0)) yield { code: 'OUTPUT_WRONG', what: `${path} is of no subtask there is` };
    if (checkpoint > (latest?.checkpointId ?? 0))
      yield { code: 'OUTPUT_WRONG', what: `${path} was committed, the last checkpoint is ${latest?.checkpointId}` };
    if (!files.isDurable(path)) yield { code: 'NOT_DURABLE', what: `a power cut takes ${path}, and the job has ended` };
  }
}
