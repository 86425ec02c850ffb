import { MillraceError } from '../errors.js';
import type { FrontDoor, FrontDoorOptions } from './front-door.js';
import { openNodeFrontDoor } from './node-front-door.js';
import { openUwsFrontDoor } from './uws-front-door.js';

/**
 * Opens the front door on uWebSockets.js, or on node:http and `ws` where its library does not load, and logs which.
 * @throws MillraceError `ADDRESS_IN_USE`, `LISTEN_FAILED` (invalid) naming host and port; `UWS_UNAVAILABLE` (unavailable)
 *   when uWebSockets.js was forced.
 */
export async function openFrontDoor(options: FrontDoorOptions): Promise<FrontDoor> {
  const door = await open(options);
  options.logger.info({ implementation: door.implementation, address: door.address }, 'front door open');
  return door;
}

async function open(options: FrontDoorOptions): Promise<FrontDoor> {
  if (options.implementation === 'node') return openNodeFrontDoor(options);
  try {
    return await openUwsFrontDoor(options);
  } catch (error) {
    const unavailable = error instanceof MillraceError && error.code === 'UWS_UNAVAILABLE';
    if (!unavailable || options.implementation === 'uws') throw error;
    options.logger.warn({ reason: error.message }, 'uWebSockets.js is not usable here; node:http and ws serve instead');
    return openNodeFrontDoor(options);
  }
}
