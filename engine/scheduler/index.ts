export { type DriverOptions, SchedulerDriver } from './driver.js';
export type { SchedulerEffect, SchedulerEvent, SchedulerNote, SlotId } from './events.js';
export { JobScheduler, type JobSchedulerOptions } from './job-scheduler.js';
