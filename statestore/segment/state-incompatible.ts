import { MillraceError } from '../../base/index.js';

/** `STATE_INCOMPATIBLE`: what is stored is not what the job asks for. Names the state, and the field where it is one. */
export function stateIncompatible(state: string, why: string, field?: string): MillraceError {
  const place = field === undefined ? '' : `: field ${JSON.stringify(field)}`;
  return new MillraceError('invalid', 'STATE_INCOMPATIBLE', `state ${JSON.stringify(state)}${place} ${why}`, {
    context: { state, ...(field === undefined ? {} : { field }) },
  });
}
