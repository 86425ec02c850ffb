export { Daemon, type DaemonProcess, type DaemonSettings } from './daemon.js';
export { daemonShuffle } from './daemon-shuffle.js';
