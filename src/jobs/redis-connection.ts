import { Redis } from 'ioredis';
import { CompressionError, messageOf } from '../errors.ts';
import type { JobLog } from './job-log.ts';

/** Every call to Redis is answered or given up within this. */
const ANSWER_MS = 2_000;
/** One line for an outage, not one for each connection and try. */
const QUIET_MS = 30_000;

export type ConnectionRole = 'commands' | 'consumer' | 'subscriber';

/** Logs connection errors, the same one at most every 30 s. */
export class ConnectionErrors {
  readonly #log: JobLog;
  readonly #last = new Map<string, number>();

  constructor(log: JobLog) {
    this.#log = log;
  }

  note(error: unknown): void {
    const message = messageOf(error);
    const now = performance.now();
    if (now - (this.#last.get(message) ?? -QUIET_MS) < QUIET_MS) return;
    this.#last.set(message, now);
    this.#log.warn({ event: 'redis.error', error: message }, 'error on a Redis connection');
  }
}

/**
 * A connection with the settings that outages were measured with: reconnects within a second of Redis being back, and a
 * dead link (no answer, no reset) is found in 15 s. The commands connection does not queue what it cannot send: an
 * outage must not fill the memory, and nothing old may be sent after it.
 */
export function connectRedis(
  url: string,
  options: { readonly role: ConnectionRole; readonly errors: ConnectionErrors; readonly closed: AbortSignal },
): Redis {
  const { role, errors, closed } = options;
  const client = new Redis(url, {
    // BullMQ makes copies of a connection that we cannot close; they end here when Redis is away for good.
    retryStrategy: (times) => (closed.aborted ? null : Math.min(100 * 2 ** Math.min(times, 10), 1_000)),
    maxRetriesPerRequest: null, // BullMQ requires it; the 2 s of `within` are the limit
    enableOfflineQueue: role !== 'commands',
    connectTimeout: 5_000,
    socketTimeout: 15_000,
    keepAlive: 10_000,
  });
  client.on('error', (error) => errors.note(error));
  return client;
}

/** When a connection went down: a call made long after that fails at once. */
export class Readiness {
  readonly #client: Redis;
  #downSince = performance.now();

  constructor(client: Redis) {
    this.#client = client;
    client.on('close', () => {
      if (this.#downSince === Infinity) this.#downSince = performance.now();
    });
    client.on('ready', () => (this.#downSince = Infinity));
  }

  /** Resolves when commands can be sent; rejects when the connection has been down for 2 s. */
  async ready(): Promise<void> {
    if (this.#client.status === 'ready') return;
    const left = ANSWER_MS - (performance.now() - this.#downSince);
    if (left <= 0) throw new Error('not connected');
    await new Promise<void>((resolve, reject) => {
      const onReady = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#client.off('ready', onReady);
        reject(new Error('not connected'));
      }, left);
      this.#client.once('ready', onReady);
    });
  }
}

/** The answer, or QUEUE_UNAVAILABLE after 2 s or on any error of Redis. A late answer is dropped. */
export async function withinLimit<T>(action: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
  });
  const answer = work();
  answer.catch(() => undefined); // when it comes too late, nobody waits for it any more
  try {
    return await Promise.race([answer, limit]);
  } catch (error) {
    throw new CompressionError('QUEUE_UNAVAILABLE', `cannot ${action}: Redis: ${messageOf(error)}`, {
      cause: error,
      retryAfterSeconds: 5,
    });
  } finally {
    clearTimeout(timer);
  }
}
