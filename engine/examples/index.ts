/** The plain computation that proves the main job's output. The job itself, flights.ts, is run as a user's file. */
export { compareLines, type ExpectedFlights, expectedFlights } from './flights-check.js';
