import { MillraceError } from '../errors.js';
import { FRAME_BYTES_MAX } from '../network.js';

/** The other side ended without saying goodbye: it died, or something between was cut. */
export function connectionLost(peer: string, detail: string, cause?: unknown): MillraceError {
  return new MillraceError('unavailable', 'CONNECTION_LOST', `connection to ${peer} was lost: ${detail}`, {
    cause,
    context: { peer },
  });
}

export function connectFailed(address: string, detail: string, cause?: unknown): MillraceError {
  return new MillraceError('unavailable', 'CONNECT_FAILED', `cannot connect to ${address}: ${detail}`, {
    cause,
    context: { address },
  });
}

export function addressInUse(address: string, advice: string): MillraceError {
  return new MillraceError('invalid', 'ADDRESS_IN_USE', `${address} is already in use: ${advice}`, {
    context: { address },
  });
}

export function addressInvalid(address: string, advice: string): MillraceError {
  return new MillraceError('invalid', 'ADDRESS_INVALID', `address ${address} cannot be used: ${advice}`, {
    context: { address },
  });
}

export function listenFailed(address: string, cause: unknown): MillraceError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new MillraceError('invalid', 'LISTEN_FAILED', `cannot listen on ${address}: ${detail}`, {
    cause,
    context: { address },
  });
}

/** Received: the stream cannot be trusted any more. */
export function receivedFrameTooLarge(peer: string, bytes: number, bytesMax: number): MillraceError {
  return new MillraceError(
    'corrupt',
    'FRAME_TOO_LARGE',
    `${peer} announced a frame of ${bytes} bytes; the most is ${bytesMax}`,
    { context: { peer, bytes, bytesMax } },
  );
}

/** @throws MillraceError `FRAME_TOO_LARGE` (invalid): the caller's frame cannot be sent at all. */
export function checkFrameSize(peer: string, bytes: number): void {
  if (bytes > FRAME_BYTES_MAX) {
    throw new MillraceError(
      'invalid',
      'FRAME_TOO_LARGE',
      `a frame of ${bytes} bytes cannot be sent to ${peer}; the most is ${FRAME_BYTES_MAX}: split it`,
      { context: { peer, bytes, bytesMax: FRAME_BYTES_MAX } },
    );
  }
}
