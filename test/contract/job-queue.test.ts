import { BullMqQueue } from '../../src/jobs/bullmq-queue.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import { skipWithout, startRedis } from '../helpers/services.ts';
import { describeJobQueue, type QueueFixture } from './job-queue.ts';
import { describeQueueTurns } from './queue-turns.ts';

const IN_PROCESS = {
  skip: false,
  start: () =>
    Promise.resolve({
      fresh: () => {
        const queue = new InProcessQueue();
        return Promise.resolve([queue, queue] as const); // there is but one process
      },
      stop: () => Promise.resolve(),
    }),
} as const;

const REDIS = {
  skip: skipWithout('redis-server'),
  start: async (): Promise<QueueFixture> => {
    const redis = await startRedis();
    let count = 0;
    const client = (prefix: string) => new BullMqQueue({ redisUrl: redis.url, prefix });
    return {
      fresh: (clients: 1 | 2) => {
        const prefix = `t${count++}`;
        const first = client(prefix);
        return Promise.resolve([first, clients === 2 ? client(prefix) : first] as const);
      },
      stop: () => redis.stop(),
    };
  },
};

for (const describeContract of [describeJobQueue, describeQueueTurns]) {
  describeContract('in process', IN_PROCESS);
  describeContract('BullMQ (Redis)', REDIS);
}
