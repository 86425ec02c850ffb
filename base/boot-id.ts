import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';

/**
 * What tells this boot of the machine from any other: memory and page cache outlive a process, not a boot. Linux says it
 * itself; elsewhere it is the minute the machine booted in, so a clock that is set by more than that looks like a reboot.
 */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return `booted-${Math.round((Date.now() / 1000 - uptime()) / 60)}`;
  }
}
