/** RPC service names between the processes of a cluster; the messages are in control.fbs. */
export const SERVICE = {
  registerWorker: 'worker.register',
  heartbeat: 'worker.heartbeat',
  registerSlot: 'slot.register',
  progress: 'slot.progress',
  taskEvent: 'task.event',
  deploy: 'task.deploy',
  taskCommand: 'task.command',
  hold: 'segments.hold',
  fetch: 'segments.fetch',
  /** `local-state-codec.ts`. What is read is of the checkpoint store; the body of `forgetObject` is the name of one. */
  describeState: 'state.describe',
  restoreState: 'state.restore',
  /** The body is an operator's name. */
  distrustState: 'state.distrust',
  readObject: 'state.readObject',
  forgetObject: 'state.forgetObject',
  persist: 'segments.persist',
  compact: 'segments.compact',
  stopCompacting: 'segments.stopCompacting',
  forget: 'segments.forget',
  /** Answers with the address of the daemon's front door, in UTF-8; nothing when it has none. */
  frontDoor: 'daemon.frontDoor',
} as const;
