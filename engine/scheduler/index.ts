export { Compactions } from './compactions.js';
export { type DriverOptions, SchedulerDriver } from './driver.js';
export type { SchedulerEffect, SchedulerEvent, SchedulerNote, SlotId } from './events.js';
export { JobScheduler } from './job-scheduler.js';
export type { JobSchedulerOptions, SchedulerFaults } from './job-scheduler-options.js';
