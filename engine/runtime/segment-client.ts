import type { RpcPeer } from '../../base/rpc/index.js';
import { encodeFetch, encodeHold } from './segment-codec.js';
import { SERVICE } from './services.js';
import type { SegmentClient } from './task-environment.js';

/** The daemon's segment home over its connection. */
export function segmentClient(daemon: RpcPeer): SegmentClient {
  return {
    async hold(task, attempt, checkpoint, segment) {
      await daemon.request(SERVICE.hold, encodeHold({ task, attempt, checkpoint, bytes: segment.bytes }));
    },
    fetch: (ref) => daemon.request(SERVICE.fetch, encodeFetch(ref)),
  };
}
