import type { RpcPeer } from '../../base/rpc/index.js';
import type { CheckpointStore, SegmentHome } from '../../checkpoint/index.js';
import { decodeFetch, decodeForget, decodeHold, decodePersist, encodePersisted, SERVICE } from '../runtime/index.js';

/** Serves a host's segment home to its workers (hold, fetch) and to the scheduler (persist, forget). */
export function serveSegments(peer: RpcPeer, home: SegmentHome, store: Pick<CheckpointStore, 'readSegment'>): void {
  peer.serve(SERVICE.hold, (body) => {
    const { task, attempt, checkpoint, full, bytes } = decodeHold(body);
    home.hold(task, attempt, checkpoint, bytes, full);
    return undefined;
  });
  peer.serve(SERVICE.fetch, (body) => store.readSegment(decodeFetch(body)));
  peer.serve(SERVICE.persist, async (body) => {
    const { checkpoint, epoch, tasks } = decodePersist(body);
    return encodePersisted(await home.persist(checkpoint, epoch, tasks));
  });
  peer.serve(SERVICE.forget, (body) => {
    const { checkpoint, epoch, completed } = decodeForget(body);
    if (completed) home.completed(checkpoint, epoch);
    else home.abort(checkpoint, epoch);
    return undefined;
  });
}
