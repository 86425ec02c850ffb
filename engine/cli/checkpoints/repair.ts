import { type RepairedHead, repairHead } from '../../../checkpoint/index.js';
import { StateFolder } from '../state-folder.js';
import { placeOf } from './listing.js';
import { withLocation } from './location.js';
import type { Tool, ToolResult } from './tool.js';

/** `millrace checkpoints repair`: makes HEAD anew where it is gone or damaged, from its older versions and from pins. */
export function repair(tool: Tool, url: string, { dryRun }: { readonly dryRun: boolean }): Promise<ToolResult> {
  return withLocation(tool, url, async ({ store, stateDir }) => {
    const release = stateDir === undefined || dryRun ? () => {} : StateFolder.lock(stateDir);
    try {
      const repaired = await repairHead(store, {
        ...tool.long,
        deep: true,
        random: tool.random,
        dryRun,
        progress: tool.progress('reading segments'),
      });
      return { text: lines(repaired, placeOf(store), dryRun), json: { location: store.location, dryRun, ...repaired } };
    } finally {
      release();
    }
  });
}

function lines(repaired: RepairedHead, place: string, dryRun: boolean): string[] {
  const { problem, from, was, checkpointId, retained, damaged } = repaired;
  return [
    problem,
    ...damaged.map((id) => `checkpoint ${id} is damaged`),
    `checkpoint ${was} is whole, every byte of it was read (found in ${from})`,
    dryRun
      ? `repaired, ${place} would go on from it as checkpoint ${checkpointId}; nothing was changed`
      : `${place} goes on from it, as checkpoint ${checkpointId}${retained.length > 0 ? `, with ${retained.join(', ')} behind it` : ''}`,
    'what came after it is given up: what sinks have made visible since is written again, unless you remove it (of jsonLines, the',
    `files part-<subtask>-<n>.jsonl with an n above ${was})`,
  ];
}
