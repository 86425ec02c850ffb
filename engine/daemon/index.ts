export { Daemon, type DaemonProcess, type DaemonSettings } from './daemon.js';
export { daemonShuffle, spillOptions } from './daemon-shuffle.js';
export { openStateCalls, type StateCallsParts } from './state-calls.js';
export {
  type HostStateEnd,
  openState,
  type StateCall,
  type StatePort,
  type StateReply,
  StateThread,
} from './state-thread.js';
