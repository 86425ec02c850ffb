import { type Clock, MillraceError, type Random, sleep } from '../../base/index.js';
import type { RpcPeer } from '../../base/rpc/index.js';
import { type BlobStore, compact, readSegment, type SegmentHome } from '../../checkpoint/index.js';
import {
  decodeCompact,
  decodeDescribe,
  decodeFetch,
  decodeForget,
  decodeHold,
  decodePersist,
  decodeRead,
  decodeRestore,
  encodeCompacted,
  encodeDescription,
  encodePersisted,
  encodeRestored,
  SERVICE,
} from '../runtime/index.js';
import { operatorOf, operatorSegments } from './operator-parts.js';
import type { HostStateEnd } from './state-thread.js';

export interface SegmentServiceOptions {
  readonly home: SegmentHome;
  readonly store: BlobStore;
  readonly host: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Keeps state of this host beside the store. */
  readonly state?: HostStateEnd | undefined;
}

/** Serves a host's segment home to its workers (hold, fetch) and to the scheduler (persist, compact, forget). */
export function serveSegments(peer: RpcPeer, options: SegmentServiceOptions): void {
  const { home, store, host, clock, random, state } = options;
  let stopped = false;
  void peer.closed.then(() => {
    stopped = true;
    // It may have died with views of the state open.
    void state?.checkReaders().catch(() => {});
  });
  peer.serve(SERVICE.stopCompacting, () => {
    stopped = true;
    return undefined;
  });
  peer.serve(SERVICE.hold, (body) => {
    const { task, attempt, checkpoint, bytes } = decodeHold(body);
    home.hold(task, attempt, checkpoint, bytes);
    state?.hold(operatorOf(task), bytes);
    return undefined;
  });
  peer.serve(SERVICE.fetch, (body) => readSegment(store, decodeFetch(body)));
  peer.serve(SERVICE.describeState, async (body) => {
    const { operator, heat } = decodeDescribe(body);
    return encodeDescription(await state?.describe(operator, heat));
  });
  peer.serve(SERVICE.distrustState, async (body) => {
    await state?.distrust(Buffer.from(body).toString('utf8'));
    return undefined;
  });
  peer.serve(SERVICE.readObject, (body) => {
    const { object, range } = decodeRead(body);
    return store.get(object, range);
  });
  peer.serve(SERVICE.forgetObject, async (body) => {
    await store.forget?.(Buffer.from(body).toString('utf8'));
    return undefined;
  });
  peer.serve(SERVICE.restoreState, async (body) => {
    const { operator, range, segments } = decodeRestore(body);
    return encodeRestored(await state?.restore(operator, range, segments));
  });
  peer.serve(SERVICE.persist, async (body) => {
    const { checkpoint, epoch, tasks } = decodePersist(body);
    const refs = await home.persist(checkpoint, epoch, tasks);
    state?.stored(checkpoint, epoch, operatorSegments(refs));
    return encodePersisted(refs);
  });
  peer.serve(SERVICE.compact, async (body) => {
    const { checkpoint, epoch, plan } = decodeCompact(body);
    // A merge shares this thread with everything else the daemon does: after each few milliseconds the others come first.
    const breathe = async () => {
      await sleep(clock, 1);
      if (stopped) throw new MillraceError('closed', 'COMPACTION_STOPPED', 'nobody waits for this merge any more');
    };
    return encodeCompacted(await compact(store, plan, { epoch, checkpointId: checkpoint, host, random, breathe }));
  });
  peer.serve(SERVICE.forget, (body) => {
    const { checkpoint, epoch, completed } = decodeForget(body);
    if (completed) {
      home.completed(checkpoint, epoch);
      state?.completed(checkpoint, epoch);
    } else {
      home.abort(checkpoint, epoch);
      state?.aborted(checkpoint);
    }
    return undefined;
  });
}
