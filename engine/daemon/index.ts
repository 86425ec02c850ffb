export { Daemon, type DaemonProcess, type DaemonSettings } from './daemon.js';
export { daemonShuffle, spillOptions } from './daemon-shuffle.js';
export { type HostStateEnd, openState } from './state-thread.js';
