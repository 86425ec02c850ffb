export { Daemon, type DaemonSettings } from './daemon.js';
export { daemonMemory } from './daemon-memory.js';
