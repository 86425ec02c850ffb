/** For the simulator, which runs the same cluster on processes of its own. */
export { Cluster, type ClusterOptions, type ClusterSurroundings } from './cluster.js';
