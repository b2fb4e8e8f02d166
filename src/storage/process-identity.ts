import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Whether the process that wrote a name can still be at work; `foreign`: another machine or container, no way to ask. */
export type Liveness = 'alive' | 'dead' | 'foreign';

/** Linux tells when a process began (in ticks since boot), which unmasks a recycled pid; elsewhere the pid must do. */
function startTicks(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name may hold spaces and parentheses; the fields after the last ')' are fixed, start time is the 20th.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '0';
  } catch {
    return '0'; // no /proc here
  }
}

function namespaceTag(): string {
  let place = hostname();
  try {
    place += readFileSync('/proc/sys/kernel/random/boot_id', 'latin1') + readlinkSync('/proc/self/ns/pid');
  } catch {
    // not Linux: the host name alone
  }
  return createHash('sha256').update(place).digest('hex').slice(0, 12);
}

const place = namespaceTag();
const self = `${place}-${process.pid}-${startTicks(process.pid)}`;

/** A word that names this process: `place-pid-start`. */
export function processIdentity(): string {
  return self;
}

export function livenessOf(identity: string): Liveness {
  if (identity === self) return 'alive';
  const [where, pidText, start] = identity.split('-');
  if (where !== place) return 'foreign';
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid <= 0) return 'dead';
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is there, but not ours
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return 'dead';
  }
  return startTicks(pid) === start ? 'alive' : 'dead';
}
