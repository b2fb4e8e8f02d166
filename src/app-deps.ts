import type { Registry } from 'prom-client';
import type { Config } from './config.ts';
import type { JobQueue } from './jobs/job-queue.ts';
import type { JobService } from './jobs/job-service.ts';
import type { Logger } from './logger.ts';
import type { DatasetStore } from './storage/dataset-store.ts';
import type { Inspector } from './storage/inspection.ts';
import type { ModelStore } from './storage/model-store.ts';
import type { ObjectStore } from './storage/object-store.ts';
import type { SourceReader } from './storage/source-reader.ts';
import type { WebhookService } from './webhooks/webhook-service.ts';

/** What the HTTP side needs; src/server.ts and the tests build it. */
export interface AppDeps {
  readonly config: Config;
  readonly logger: Logger;
  readonly store: ObjectStore;
  readonly queue: JobQueue;
  readonly jobs: JobService;
  readonly models: ModelStore;
  readonly datasets: DatasetStore;
  readonly inspector: Inspector;
  readonly sources: SourceReader;
  /** Metrics of this process; whoever has figures registers them here. */
  readonly metrics: Registry;
  /** Folder for uploads on their way to the store. */
  readonly spoolFolder: string;
  readonly webhooks: WebhookService;
  /** Refuses a webhook URL that must not be called. @throws CompressionError WEBHOOK_URL_REFUSED */
  readonly checkWebhookUrl: (url: string) => unknown;
}
