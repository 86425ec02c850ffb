import type { Suite } from '../harness.js';
import { muchLargerThanMemory } from './state-larger.js';

/** Apart from `state`, as filling the host with 100 M counters takes minutes, and 10 GB of disk. */
export const stateLarge: Suite = { name: 'state-large', run: muchLargerThanMemory };
