import { BullMqQueue } from '../../src/jobs/bullmq-queue.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import { skipWithout, startRedis } from '../helpers/services.ts';
import { describeJobQueue } from './job-queue.ts';

describeJobQueue('in process', {
  skip: false,
  start: () =>
    Promise.resolve({
      fresh: () => {
        const queue = new InProcessQueue();
        return Promise.resolve([queue, queue] as const); // there is but one process
      },
      stop: () => Promise.resolve(),
    }),
});

describeJobQueue('BullMQ (Redis)', {
  skip: skipWithout('redis-server'),
  start: async () => {
    const redis = await startRedis();
    let count = 0;
    const client = (prefix: string) => new BullMqQueue({ redisUrl: redis.url, prefix });
    return {
      fresh: (clients) => {
        const prefix = `t${count++}`;
        const first = client(prefix);
        return Promise.resolve([first, clients === 2 ? client(prefix) : first] as const);
      },
      stop: () => redis.stop(),
    };
  },
});
