import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/** Job children that this process has started and that still live, spare ones included. */
export function childrenOfThisProcess(): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line);
    return match?.[3]?.includes('job-child') && Number(match[2]) === process.pid ? [Number(match[1])] : [];
  });
}

/** Resolves when at most `left` of the processes live; those that were killed may take a moment. */
export async function gone(pids: readonly number[], left = 0): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const alive = childrenOfThisProcess().filter((pid) => pids.includes(pid));
    if (alive.length <= left) return;
    assert.ok(tries < 50, `children ${alive.join(', ')} are still there`);
    await delay(100);
  }
}
