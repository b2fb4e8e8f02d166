import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from '../helpers/cluster.ts';

export interface Fault {
  readonly name: string;
  inject(cluster: Cluster): Promise<void>;
}

/** What is done to the cluster while jobs run, in turn. */
export const FAULTS: readonly Fault[] = [
  {
    name: 'kill -9 of worker-1, back after 3 s',
    async inject(cluster) {
      await cluster.kill('worker-1');
      await delay(3000);
      await cluster.startProcess('worker-1');
    },
  },
  {
    name: 'kill -9 of every job child',
    inject: () => {
      for (const pid of jobChildren()) killQuietly(pid);
      return Promise.resolve();
    },
  },
  {
    name: 'Redis killed, back after 3 s with its append-only file',
    async inject(cluster) {
      await cluster.redis.kill();
      await delay(3000);
      await cluster.redis.restart();
    },
  },
  {
    name: 'FLUSHALL',
    inject: (cluster) => cluster.redis.flush(),
  },
  {
    name: 'SIGTERM to worker-2 (a deploy), back at once',
    async inject(cluster) {
      await cluster.kill('worker-2', 'SIGTERM');
      await cluster.startProcess('worker-2');
    },
  },
  {
    name: 'SIGSTOP of worker-1 for 20 s (a zombie that comes back)',
    async inject(cluster) {
      const pid = cluster.pid('worker-1');
      process.kill(pid, 'SIGSTOP');
      await delay(20_000);
      process.kill(pid, 'SIGCONT');
    },
  },
  {
    name: 'kill -9 of the API, back at once',
    async inject(cluster) {
      await cluster.kill('api');
      await cluster.startProcess('api');
    },
  },
];

export function jobChildren(): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' }).split('\n');
  return lines.filter((line) => line.includes('dist/workers/job-child')).map((line) => Number.parseInt(line, 10));
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it ended by itself in the meantime
  }
}
