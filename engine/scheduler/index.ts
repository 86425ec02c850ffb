export { type DriverOptions, SchedulerDriver } from './driver.js';
export type { SchedulerEffect, SchedulerEvent, SchedulerNote, SlotId } from './events.js';
export { JobScheduler, type JobSchedulerOptions, type SchedulerFaults } from './job-scheduler.js';
