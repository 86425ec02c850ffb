import { MillraceError } from '../../base/index.js';

/** `STATE_AWAY`: somebody asks for state that is not on this host, without having waited for it (`ColdState.ready`). */
export function stateAway(state: string, keyGroup: number): MillraceError {
  const message = `state ${JSON.stringify(state)} of key group ${keyGroup} is not on this host yet`;
  return new MillraceError('unavailable', 'STATE_AWAY', message, { context: { state, keyGroup } });
}
