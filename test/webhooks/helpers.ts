import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { newRecord } from '../../src/jobs/record-changes.ts';
import type { JobEvent } from '../../src/jobs/job-service.ts';
import type { JobEventType, JobRecord } from '../../src/schemas/job.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { createWebhooks } from '../../src/webhooks/create-webhooks.ts';
import type { Send, SendResult } from '../../src/webhooks/send.ts';
import { newJob, TestClock } from '../helpers/jobs.ts';

export interface Sent {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const answer = (status: number, retryAfter?: string): SendResult => ({ kind: 'answer', status, retryAfter });

/** Webhooks on a folder of their own, with a clock that the test moves and a stub in place of the network. */
export async function openWebhooks(respond: (sent: Sent) => SendResult | Promise<SendResult> = () => answer(200)) {
  const root = await mkdtemp(join(tmpdir(), 'tersor-webhooks-'));
  const store = new FileSystemStore(root);
  const clock = new TestClock();
  const sent: Sent[] = [];
  const send: Send = async (request) => {
    sent.push(request);
    return respond(request);
  };
  /** Another process on the same store. */
  const make = (changes: { readonly send?: Send; readonly store?: ObjectStore } = {}) => {
    const metrics = new Registry();
    const policy = { allowHttp: true, allowPrivate: true };
    return { metrics, ...createWebhooks({ store, policy, metrics, clock, rng: () => 0.5, send, ...changes }) };
  };
  const webhooks = make();
  return {
    store,
    clock,
    sent,
    make,
    ...webhooks,
    /** Attempts everything that is due. */
    async run(process: Pick<ReturnType<typeof make>, 'dispatcher'> = webhooks) {
      for (let before = -1; before < sent.length;) {
        before = sent.length;
        await process.dispatcher.sweep();
        await process.dispatcher.idle();
      }
    },
    async log(endpointId: string) {
      return (await webhooks.service.listDeliveries('acme', endpointId, { limit: 100 })).items;
    },
    async stop() {
      await webhooks.dispatcher.stop();
      await store.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

let made = 0;

/** A job of the tenant acme, as its record is when it is over. */
export function finishedJob(changes: Partial<JobRecord> = {}): JobRecord {
  const id = `job_${String(made++).padStart(20, '0')}`;
  const at = new Date().toISOString();
  return {
    ...newRecord(newJob(), { id, at, idempotencyKey: null }),
    status: 'succeeded',
    attempt: 1,
    progress: 1,
    finishedAt: at,
    ...changes,
  };
}

export function event(type: JobEventType, id = 7): JobEvent {
  return { id, type, at: new Date().toISOString(), data: {} };
}
