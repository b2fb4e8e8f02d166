import { access, constants, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { buildApp, buildOperationsApp, type App } from './app.ts';
import type { Config } from './config.ts';
import { CompressionError, messageOf } from './errors.ts';
import { createJobs, type Jobs } from './jobs/create-jobs.ts';
import { InProcessQueue } from './jobs/in-process-queue.ts';
import type { JobQueue } from './jobs/job-queue.ts';
import type { Logger } from './logger.ts';
import { attemptMetrics, registerQueueMetrics } from './plugins/job-metrics.ts';
import { BucketSources } from './storage/bucket-sources.ts';
import { DatasetStore } from './storage/dataset-store.ts';
import { lockDataDir } from './storage/data-dir-lock.ts';
import { FileSystemStore } from './storage/filesystem.ts';
import { Inspector } from './storage/inspection.ts';
import { ModelStore } from './storage/model-store.ts';
import type { ObjectStore } from './storage/object-store.ts';
import { probeStore } from './storage/probe.ts';
import { sweepSpools } from './storage/spool.ts';
import { createWebhooks, type Webhooks } from './webhooks/create-webhooks.ts';

const WORKER_STORE_PATIENCE_MS = 600_000;
const SPOOL_BESIDE_S3 = join(tmpdir(), 'tersor-uploads');

export interface Service {
  /** Where the HTTP side listens, for example http://127.0.0.1:8080. */
  readonly url: string;
  /** Takes nothing new, hands running jobs back, closes everything. Safe to call twice. */
  close(): Promise<void>;
}

/** What has been opened, closed in reverse order. */
class Closers {
  readonly #closers: (() => unknown)[] = [];
  #closed: Promise<void> | undefined;

  add(close: () => unknown): void {
    this.#closers.push(close);
  }

  close(logger: Logger): Promise<void> {
    this.#closed ??= this.#run(logger);
    return this.#closed;
  }

  async #run(logger: Logger): Promise<void> {
    for (const close of this.#closers.reverse()) {
      try {
        await close();
      } catch (error) {
        // What comes after must be closed all the same.
        logger.error({ err: error }, 'a part of the service did not close');
      }
    }
  }
}

/**
 * The composition root: store, queue, jobs, HTTP side and worker, as the configuration says. Resolves when the service
 * listens.
 *
 * @throws CompressionError CONFIG_INVALID, OBJECT_STORE_UNAVAILABLE, QUEUE_UNAVAILABLE; what was opened is closed again
 */
export async function startService(config: Config, logger: Logger): Promise<Service> {
  const closers = new Closers();
  try {
    return await start(config, logger, closers);
  } catch (error) {
    await closers.close(logger);
    throw error;
  }
}

async function start(config: Config, logger: Logger, closers: Closers): Promise<Service> {
  const store = await openStore(config, closers);
  await probeStore(store);
  const queue = await openQueue(config, logger, closers);
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  registerQueueMetrics(metrics, queue);
  const own: { port?: number } = {};
  const webhooks = createWebhooks({
    store,
    policy: {
      allowHttp: config.webhookAllowHttp,
      allowPrivate: config.webhookAllowPrivate,
      refusedHosts: config.webhookRefusedHosts,
      ownPort: () => own.port,
    },
    metrics,
    log: logger,
  });
  closers.add(() => webhooks.dispatcher.stop());
  webhooks.dispatcher.start();
  const jobs = createJobs({ store, queue, log: logger, onEvent: webhooks.onEvent });
  closers.add(() => jobs.close());
  const reconciler = jobs.createReconciler({
    // Only a folder of our own, held by a lock, has no other process's attempts in it.
    soleProcess: config.redisUrl === undefined && config.s3 === undefined,
  });
  closers.add(() => reconciler.stop());
  await reconciler.start();

  if (config.role !== 'api') await startWorkerPart(config, { store, queue, jobs, webhooks, metrics, logger }, closers);
  const app = await buildHttp(config, { store, queue, jobs, webhooks, metrics, logger }, closers);
  closers.add(() => app.close());
  await app.listen({ host: config.host, port: config.port });
  const { port } = app.server.address() as AddressInfo;
  own.port = port;
  const url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`;
  logger.info({ event: 'service.listening', url, role: config.role }, 'service listens');
  return { url, close: () => closers.close(logger) };
}

interface Parts {
  readonly store: ObjectStore;
  readonly queue: JobQueue;
  readonly jobs: Jobs;
  readonly webhooks: Webhooks;
  readonly metrics: Registry;
  readonly logger: Logger;
}

async function openStore(config: Config, closers: Closers): Promise<ObjectStore> {
  if (config.s3 !== undefined) {
    const { bucket, endpoint, region, prefix } = config.s3;
    // Loaded only when it is used: the SDK takes a good part of a second to load.
    const { S3Store } = await import('./storage/s3.ts');
    const store = new S3Store({
      bucket,
      region,
      // A worker holds the result of hours: it waits longer for the store to come back than a request may.
      ...(config.role === 'worker' ? { patienceMs: WORKER_STORE_PATIENCE_MS } : {}),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(prefix === undefined ? {} : { prefix }),
    });
    closers.add(() => store.close());
    return store;
  }
  const folder = resolve(config.dataDir);
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new CompressionError('CONFIG_INVALID', `DATA_DIR ${folder} cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
  // With the queue in this process, a second service on the same folder would run the same jobs again.
  if (config.redisUrl === undefined) closers.add(await lockDataDir(folder));
  const store = new FileSystemStore(folder);
  closers.add(() => store.close());
  return store;
}

async function openQueue(config: Config, logger: Logger, closers: Closers): Promise<JobQueue> {
  if (config.redisUrl === undefined) {
    const queue = new InProcessQueue(logger);
    closers.add(() => queue.close());
    return queue;
  }
  const { BullMqQueue } = await import('./jobs/bullmq-queue.ts');
  const queue = new BullMqQueue({ redisUrl: config.redisUrl, log: logger });
  closers.add(() => queue.close());
  await queue.verify();
  return queue;
}

async function startWorkerPart(config: Config, parts: Parts, closers: Closers): Promise<void> {
  const { startWorker } = await import('../workers/main.ts');
  const count = attemptMetrics(parts.metrics);
  const worker = await startWorker({
    store: parts.store,
    queue: parts.queue,
    claims: parts.jobs.claims,
    logger: parts.logger,
    concurrency: config.workerConcurrency,
    memoryBytes: config.jobMemoryBytes,
    snapshotSeconds: config.snapshotSeconds,
    hidden: config.s3 === undefined ? [resolve(config.dataDir)] : [SPOOL_BESIDE_S3],
    onOutcome: count,
  });
  closers.add(() => worker.close());
}

async function buildHttp(config: Config, parts: Parts, closers: Closers): Promise<App> {
  const { store, queue, jobs, webhooks, metrics, logger } = parts;
  if (config.role === 'worker') return buildOperationsApp({ config, store, queue, metrics, logger });
  const spoolFolder = config.s3 === undefined ? join(resolve(config.dataDir), 'uploads') : SPOOL_BESIDE_S3;
  await sweepSpools(spoolFolder);
  const inspector = new Inspector();
  closers.add(() => inspector.close());
  const { buckets, endpoint, region } = config.sources;
  const sources = new BucketSources(buckets, async (bucket) => {
    const { S3Store } = await import('./storage/s3.ts');
    return new S3Store({ bucket, region, ...(endpoint === undefined ? {} : { endpoint }) });
  });
  closers.add(() => sources.close());
  return buildApp({
    config,
    logger,
    store,
    queue,
    jobs: jobs.service,
    models: new ModelStore(store),
    datasets: new DatasetStore(store),
    inspector,
    sources,
    metrics,
    spoolFolder,
    webhooks: webhooks.service,
    checkWebhookUrl: (url) => webhooks.service.checkUrl(url),
  });
}
