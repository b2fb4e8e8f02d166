import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { buildApp, type App } from '../../src/app.ts';
import type { AppDeps } from '../../src/app-deps.ts';
import { loadConfig } from '../../src/config.ts';
import { CompressionError } from '../../src/errors.ts';
import { createJobs, type Jobs } from '../../src/jobs/create-jobs.ts';
import { InProcessQueue } from '../../src/jobs/in-process-queue.ts';
import { createLogger } from '../../src/logger.ts';
import { DatasetStore } from '../../src/storage/dataset-store.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { Inspector } from '../../src/storage/inspection.ts';
import { ModelStore } from '../../src/storage/model-store.ts';
import { createWebhooks } from '../../src/webhooks/create-webhooks.ts';

export interface TestApp {
  readonly app: App;
  readonly deps: AppDeps;
  readonly jobs: Jobs;
  readonly folder: string;
  close(): Promise<void>;
}

export const keyHash = (key: string): string => createHash('sha256').update(key).digest('hex');

/** The whole HTTP side on a real file store and queue in a folder of its own; nothing consumes the queue. */
export async function startApp(
  env: Readonly<Record<string, string>> = {},
  change: (deps: AppDeps) => AppDeps = (deps) => deps,
): Promise<TestApp> {
  const folder = await mkdtemp(join(tmpdir(), 'tersor-http-'));
  const config = loadConfig({ DATA_DIR: folder, LOG_LEVEL: 'silent', ...env });
  const store = new FileSystemStore(join(folder, 'store'));
  const queue = new InProcessQueue();
  const metrics = new Registry();
  const webhooks = createWebhooks({
    store,
    policy: { allowHttp: config.webhookAllowHttp, allowPrivate: config.webhookAllowPrivate },
    metrics,
  });
  const jobs = createJobs({ store, queue, onEvent: webhooks.onEvent });
  const inspector = new Inspector({ threads: 1, timeoutMs: 20_000 });
  const deps = change({
    config,
    logger: createLogger(config.logLevel),
    store,
    queue,
    jobs: jobs.service,
    models: new ModelStore(store),
    datasets: new DatasetStore(store),
    inspector,
    sources: {
      lookUp: (url) => Promise.reject(new CompressionError('SOURCE_DENIED', `${url} is in no bucket that is allowed`)),
    },
    metrics,
    webhooks: webhooks.service,
    spoolFolder: join(folder, 'spool'),
    checkWebhookUrl: (url) => webhooks.service.checkUrl(url),
  });
  const app = await buildApp(deps);
  await app.ready();
  return {
    app,
    deps,
    jobs,
    folder,
    async close() {
      await app.close();
      await inspector.close();
      await jobs.close();
      await queue.close();
      await store.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
