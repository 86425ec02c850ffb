import { type FrontDoor, type HttpResponse, jsonResponse } from '../../base/rpc/index.js';
import type { ShuffleMaster, WriterStatus } from '../../shuffle/index.js';

/**
 * The control routes of a daemon, beside /health and /metrics:
 *
 *     GET    /info                        what this daemon is: version, process, addresses, sizes
 *     GET    /shuffle/writers[?job=JOB]   every writer with its partitions
 *     GET    /shuffle/writers/NAME        one of them
 *     POST   /shuffle/writers/NAME/seal   fences what it is now: answers with the tail      needs the token
 *     DELETE /shuffle/writers/NAME        releases it (also POST .../release)               needs the token
 *     DELETE /shuffle/jobs/JOB            releases every writer of a job                    needs the token
 *
 * Names are percent-encoded. Reading is open to all, as /health is. Errors are `{code, message, context}`.
 */
export function serveControl(door: FrontDoor, parts: { readonly master: ShuffleMaster; info(): object }): void {
  const { master } = parts;
  const named = async (name: string) => (await master.list()).find(({ writer }) => writer === name);
  const open = { open: true };
  door.route('GET', '/info', () => jsonResponse(parts.info()), open);
  door.route(
    'GET',
    '/shuffle/writers',
    async ({ query }) => {
      const job = query.get('job');
      const writers = (await master.list()).filter((writer) => job === null || writer.job === job);
      return jsonResponse({ writers: writers.map(writerJson) });
    },
    open,
  );
  door.route(
    'GET',
    '/shuffle/writers/:name',
    async ({ params }) => {
      const writer = await named(params['name'] as string);
      return writer === undefined ? unknown('writer', params['name'] as string) : jsonResponse(writerJson(writer));
    },
    open,
  );
  door.route('POST', '/shuffle/writers/:name/seal', async ({ params }) => {
    const name = params['name'] as string;
    const writer = await named(name);
    if (writer === undefined) return unknown('writer', name);
    const epoch = writer.epoch + 1;
    return jsonResponse({ writer: name, epoch, ...(await master.seal(name, epoch)) });
  });
  const release = async ({ params }: { readonly params: Readonly<Record<string, string>> }) => {
    const name = params['name'] as string;
    if ((await named(name)) === undefined) return unknown('writer', name);
    await master.release(name);
    return jsonResponse({ released: [name] });
  };
  door.route('DELETE', '/shuffle/writers/:name', release);
  door.route('POST', '/shuffle/writers/:name/release', release);
  door.route('DELETE', '/shuffle/jobs/:job', async ({ params }) => {
    const job = params['job'] as string;
    const released = (await master.list()).filter((writer) => writer.job === job).map(({ writer }) => writer);
    if (released.length === 0) return unknown('job', job);
    await master.releaseJob(job);
    return jsonResponse({ released });
  });
}

/** One writer as JSON: per subpartition the first retained and the next seq. */
function writerJson({ job, partitions, ...writer }: WriterStatus): object {
  const retainedBytes = partitions.reduce((sum, partition) => sum + partition.retainedBytes, 0);
  return { ...writer, job: job ?? null, retainedBytes, partitions };
}

function unknown(what: 'writer' | 'job', name: string): HttpResponse {
  const code = what === 'writer' ? 'WRITER_UNKNOWN' : 'JOB_UNKNOWN';
  return jsonResponse({ code, message: `there is no ${what} "${name}" here`, context: { [what]: name } }, 404);
}
