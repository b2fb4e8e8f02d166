import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { loadConfig } from '../../src/config.ts';
import { createLogger } from '../../src/logger.ts';
import { Job } from '../../src/schemas/job.ts';
import { WebhookEndpoint, WebhookSecret } from '../../src/schemas/webhook.ts';
import { startService } from '../../src/service.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';
import { addModel } from '../helpers/onnx-bytes.ts';
import { startSink } from './sink.ts';

describe('webhooks of the whole service', () => {
  it('arrive at endpoint and job webhook, signed, when a job is over; the service itself is refused', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tersor-webhook-service-'));
    const sink = await startSink();
    const config = loadConfig({
      DATA_DIR: folder,
      PORT: '0',
      LOG_LEVEL: 'silent',
      WEBHOOK_ALLOW_HTTP: 'true',
      WEBHOOK_ALLOW_PRIVATE: 'true',
    });
    const store = new FileSystemStore(folder);
    await putKnownKernelCosts(store, [config.jobThreads]);
    await store.close();
    const service = await startService(config, createLogger('silent'));
    const call = async (method: string, path: string, body?: object | Buffer): Promise<unknown> => {
      const binary = Buffer.isBuffer(body);
      const response = await fetch(`${service.url}/v1/${path}`, {
        method,
        ...(body === undefined
          ? {}
          : {
              headers: { 'content-type': binary ? 'application/octet-stream' : 'application/json' },
              body: binary ? new Uint8Array(body) : JSON.stringify(body),
            }),
      });
      return response.json();
    };
    try {
      const endpoint = WebhookEndpoint.parse(await call('POST', 'webhook-endpoints', { url: `${sink.url}/endpoint` }));
      const refused = (await call('POST', 'webhook-endpoints', { url: service.url })) as { code: string };
      assert.equal(refused.code, 'WEBHOOK_URL_REFUSED');
      const { secret } = WebhookSecret.parse(await call('GET', 'webhook-secret'));
      const model = (await call('POST', 'models', addModel())) as { id: string };
      const job = Job.parse(
        await call('POST', 'jobs', {
          model: model.id,
          recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] },
          webhook: { url: `${sink.url}/job` },
        }),
      );
      for (let tries = 0; tries < 1200 && sink.received.length < 2; tries++) await delay(50);
      const now = Job.parse(await call('GET', `jobs/${job.id}`));
      assert.deepEqual(sink.received.map(({ path }) => path).sort(), ['/hooks/endpoint', '/hooks/job']);
      for (const { path, headers, body } of sink.received) {
        const key = path.endsWith('/job') ? secret : (endpoint.secret ?? '');
        const event = new Webhook(key).verify(body, headers) as { type: string; data: unknown };
        assert.equal(event.type, `job.${now.status}`);
        assert.deepEqual(event.data, JSON.parse(JSON.stringify(now)));
      }
    } finally {
      await service.close();
      await sink.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
});
