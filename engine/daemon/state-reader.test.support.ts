import { nodeByteFiles } from '../../base/index.js';
import { lmdbBaseStores, StateView } from '../../statestore/index.js';

/** A process that has a view of some state open until it is killed; its argument is the description. */
const description = JSON.parse(process.argv[2] as string);
const range = { first: 0, last: 127 };
const view = await StateView.open(description, { bases: lmdbBaseStores(), files: nodeByteFiles(), range });
process.send?.(view.line.checkpointId);
setInterval(() => view.line, 1000);
