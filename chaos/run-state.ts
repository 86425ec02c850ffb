import type { SchedulerEffect } from '../engine/scheduler/index.js';

/** What a run is at when a fault comes. */
export const RUN_STATES = [
  'starting',
  'running',
  'collecting',
  'persisting',
  'publishing',
  'restarting',
  'ending',
] as const;
export type RunState = (typeof RUN_STATES)[number];

export function stateAfter(effect: SchedulerEffect, before: RunState): RunState {
  if (effect.kind === 'persist') return 'persisting';
  if (effect.kind === 'publish') return effect.manifest.final ? 'ending' : 'publishing';
  if (effect.kind === 'ended') return 'ending';
  if (effect.kind !== 'note') return before;
  switch (effect.note.what) {
    case 'restarting':
      return 'restarting';
    case 'checkpointTriggered':
      return 'collecting';
    case 'checkpointCompleted':
      return effect.note.final ? 'ending' : 'running';
    case 'running':
      return 'running';
    case 'checkpointAborted':
      return before === 'restarting' ? before : 'running';
  }
}
