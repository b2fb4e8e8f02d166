import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { CompressionError, messageOf } from '../errors.ts';
import { BullMqConsumer } from './bullmq-consumer.ts';
import { SILENT_LOG } from './job-log.ts';
import type { JobLog } from './job-log.ts';
import type {
  ChangeListener,
  Consumer,
  JobChange,
  JobHandler,
  JobQueue,
  QueueCounts,
  QueuePlace,
} from './job-queue.ts';
import { connectRedis, ConnectionErrors, Readiness, withinLimit } from './redis-connection.ts';
import { RedisTurns } from './redis-turns.ts';

const QUEUE_NAME = 'jobs';
/** BullMQ's own limit must never end a job: the record's breaker does. */
const UNLIMITED_ATTEMPTS = 1_000_000;

/**
 * The queue over BullMQ and Redis, for any number of API and worker processes. An entry is only the job's id; whatever
 * else somebody writes into Redis is not read. Entries vanish when they are done, so an id can be enqueued again.
 */
export class BullMqQueue implements JobQueue {
  readonly #url: string;
  readonly #prefix: string;
  readonly #log: JobLog;
  readonly #errors: ConnectionErrors;
  readonly #client: Redis;
  readonly #readiness: Readiness;
  readonly #queue: Queue;
  readonly #turns: RedisTurns;
  readonly #consumers = new Set<BullMqConsumer>();
  readonly #listeners = new Set<ChangeListener>();
  #subscriber: Redis | undefined;
  readonly #closed = new AbortController();

  constructor(options: {
    readonly redisUrl: string;
    /** Keys in Redis start with it; default `tersor`. */
    readonly prefix?: string;
    readonly log?: JobLog;
  }) {
    this.#url = options.redisUrl;
    this.#prefix = options.prefix ?? 'tersor';
    this.#log = options.log ?? SILENT_LOG;
    this.#errors = new ConnectionErrors(this.#log);
    this.#client = this.#connect('commands');
    this.#readiness = new Readiness(this.#client);
    this.#queue = new Queue(QUEUE_NAME, { connection: this.#client, prefix: this.#prefix, skipVersionCheck: true });
    this.#turns = new RedisTurns(this.#client, { prefix: this.#prefix, queue: QUEUE_NAME });
    this.#queue.on('error', (error) => this.#errors.note(error));
  }

  /**
   * For the start: Redis answers, and drops no keys when its memory is full.
   * @throws CompressionError QUEUE_UNAVAILABLE, or CONFIG_INVALID when `maxmemory-policy` is not `noeviction`
   */
  async verify(): Promise<void> {
    await this.ping();
    let policy: string | undefined;
    try {
      policy = await this.#ask('read maxmemory-policy', async () => {
        const answer: unknown = await this.#client.config('GET', 'maxmemory-policy');
        return policyOf(answer);
      });
    } catch (error) {
      // Managed servers forbid CONFIG; their policy cannot be read.
      this.#log.warn({ event: 'redis.policy-unknown', error: messageOf(error) }, 'make sure of noeviction yourself');
      return;
    }
    if (policy === undefined || policy === 'noeviction') return;
    throw new CompressionError(
      'CONFIG_INVALID',
      `Redis at REDIS_URL has maxmemory-policy ${policy}, so it may drop queue entries when its memory is full; ` +
        'set maxmemory-policy noeviction',
    );
  }

  async enqueue(jobId: string, place: QueuePlace): Promise<void> {
    await this.#ask('enqueue a job', async () => {
      await this.#queue.add(
        'job',
        {},
        {
          jobId,
          priority: RedisTurns.initial(place),
          attempts: UNLIMITED_ATTEMPTS,
          backoff: { type: 'custom' },
          removeOnComplete: true,
          removeOnFail: true,
        },
      );
      await this.#turns.place(jobId, place);
    });
  }

  async consume(handler: JobHandler, options: { readonly concurrency: number }): Promise<Consumer> {
    this.#assertOpen();
    const consumer = new BullMqConsumer({
      name: QUEUE_NAME,
      prefix: this.#prefix,
      redisUrl: this.#url,
      concurrency: options.concurrency,
      handler,
      log: this.#log,
      errors: this.#errors,
      onClose: () => this.#consumers.delete(consumer),
    });
    this.#consumers.add(consumer);
    return Promise.resolve(consumer);
  }

  async remove(jobId: string): Promise<void> {
    await this.#ask('remove a job from the queue', () => this.#queue.remove(jobId)); // 0 when it is active or not there
  }

  async counts(): Promise<QueueCounts> {
    return this.#ask('count jobs', async () => {
      const counts = await this.#queue.getJobCounts('wait', 'prioritized', 'delayed', 'active');
      const of = (state: string) => counts[state] ?? 0;
      const totals = { waiting: of('wait') + of('prioritized') + of('delayed'), active: of('active') };
      const since = await this.#oldest();
      return since === undefined ? totals : { ...totals, oldestWaitingMs: Math.max(0, Date.now() - since) };
    });
  }

  async holds(jobIds: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#ask('look up jobs in the queue', async () => {
      const lookUps = this.#client.pipeline();
      for (const jobId of jobIds) lookUps.zscore(this.#key('prioritized'), jobId);
      const found = (await lookUps.exec()) ?? [];
      return new Set(jobIds.filter((_, index) => typeof found[index]?.[1] === 'string'));
    });
  }

  async position(jobId: string): Promise<number | undefined> {
    return this.#ask('look up a place in the queue', async () => {
      const [redelivered, length, rank] = await Promise.all([
        this.#client.lpos(this.#key('wait'), jobId),
        this.#client.llen(this.#key('wait')),
        this.#client.zrank(this.#key('prioritized'), jobId),
      ]);
      // Jobs of workers that died wait in a list of their own, served first, from its far end.
      if (redelivered !== null) return length - 1 - redelivered;
      return rank === null ? undefined : length + rank;
    });
  }

  async notify(jobId: string, change: JobChange): Promise<void> {
    await this.#ask('tell of a change', () => this.#client.publish(this.#key('changes'), `${change} ${jobId}`));
  }

  async subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    await this.#ask('subscribe to changes', async () => {
      this.#subscriber ??= this.#openSubscriber();
      await this.#subscriber.subscribe(this.#key('changes')); // repeated after each reconnect by the client
    });
    const own: ChangeListener = (jobId, change) => listener(jobId, change); // the same function may subscribe twice
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
      return Promise.resolve();
    };
  }

  async ping(): Promise<void> {
    await this.#ask('reach the queue', () => this.#client.ping());
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    this.#listeners.clear();
    this.#subscriber?.disconnect();
    this.#client.disconnect(); // the queue does not own it
    await this.#queue.close().catch((error: unknown) => this.#errors.note(error));
  }

  #connect(role: 'commands' | 'subscriber'): Redis {
    return connectRedis(this.#url, { role, errors: this.#errors, closed: this.#closed.signal });
  }

  #key(name: string): string {
    return `${this.#prefix}:${QUEUE_NAME}:${name}`;
  }

  async #ask<T>(action: string, work: () => Promise<T>): Promise<T> {
    this.#assertOpen();
    return withinLimit(action, async () => {
      await this.#readiness.ready();
      return work();
    });
  }

  #assertOpen(): void {
    if (this.#closed.signal.aborted)
      throw new CompressionError('QUEUE_UNAVAILABLE', 'this client of the job queue is closed');
  }

  #openSubscriber(): Redis {
    const subscriber = this.#connect('subscriber');
    subscriber.on('message', (_channel, message) => {
      // An id alone is what earlier versions send, which do not tell the two apart.
      const [, change, jobId] = /^(?:(record|event) )?(\S+)$/.exec(message) ?? [];
      if (jobId === undefined) return;
      for (const listener of [...this.#listeners]) {
        try {
          listener(jobId, change === 'event' ? change : 'record');
        } catch (error) {
          this.#log.warn({ event: 'queue.listener-failed', jobId, error: messageOf(error) }, 'queue listener failed');
        }
      }
    });
    return subscriber;
  }

  /** When the oldest entry came, of those that wait for their first delivery and those of workers that died. */
  async #oldest(): Promise<number | undefined> {
    const redelivered = await this.#client.lindex(this.#key('wait'), -1);
    const times = [
      await this.#turns.oldest(),
      redelivered === null ? undefined : Number(await this.#client.hget(this.#key(redelivered), 'timestamp')),
    ];
    const known = times.flatMap((time) => (time !== undefined && time > 0 ? [time] : []));
    return known.length === 0 ? undefined : Math.min(...known);
  }
}

/** `CONFIG GET` answers an array in RESP2 and a map, or an object, in RESP3. */
function policyOf(answer: unknown): string | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined;
  const values: readonly unknown[] = answer instanceof Map ? [...answer.values()] : Object.values(answer);
  const policy = values.at(-1);
  return typeof policy === 'string' ? policy : undefined;
}
