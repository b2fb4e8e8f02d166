import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { messageOf } from '../errors.ts';
import type { ArtifactResource } from '../schemas/artifact.ts';
import type { PassResource, PresetResource } from '../schemas/catalog.ts';
import type { Problem } from '../schemas/common.ts';
import type { DatasetResource } from '../schemas/dataset.ts';
import type { CreateJob, Job, JobEventType, JobStatus } from '../schemas/job.ts';
import type { ModelResource } from '../schemas/model.ts';
import type { DryRun } from '../schemas/plan.ts';
import { TersorError } from './errors.ts';
import { parseEvents } from './server-sent-events.ts';

export interface ClientOptions {
  /** For example http://127.0.0.1:8080. */
  readonly baseUrl: string;
  readonly apiKey?: string;
  /** Tries of a request that failed for a passing reason (connection, 429, 503); default 4. */
  readonly tries?: number;
}

/** What a client writes; defaults may be left out. */
export type JobRequest = z.input<typeof CreateJob>;

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly nextCursor: string | null;
}

/** One event of a job, as the service sent it. */
export interface JobEventMessage {
  readonly id: number;
  readonly type: JobEventType;
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface CallOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes the body anew for each try. */
  readonly body?: () => Promise<RequestInit & { duplex?: 'half' }>;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes in memory, or the path of a file that is streamed. */
export type UploadSource = Uint8Array | { readonly path: string };

const TERMINAL: ReadonlySet<JobStatus> = new Set<JobStatus>(['succeeded', 'failed', 'canceled']);
const RETRIED: ReadonlySet<number> = new Set([429, 503]);

/** A typed client of the HTTP API, for Node.js. Types come from the schemas the service validates with. */
export class TersorClient {
  readonly #baseUrl: string;
  readonly #apiKey: string | undefined;
  readonly #tries: number;

  constructor(options: ClientOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, '');
    this.#apiKey = options.apiKey;
    this.#tries = options.tries ?? 4;
  }

  async uploadModel(source: UploadSource): Promise<ModelResource> {
    return this.#json('POST', '/v1/models', { body: () => uploadBody(source) });
  }

  async uploadDataset(source: UploadSource, options: { readonly name?: string } = {}): Promise<DatasetResource> {
    return this.#json('POST', '/v1/datasets', { body: () => uploadBody(source), query: { name: options.name } });
  }

  async getModel(id: string): Promise<ModelResource> {
    return this.#json('GET', `/v1/models/${encodeURIComponent(id)}`);
  }

  async listModels(query: { readonly limit?: number; readonly cursor?: string } = {}): Promise<Page<ModelResource>> {
    return this.#json('GET', '/v1/models', { query });
  }

  async getDataset(id: string): Promise<DatasetResource> {
    return this.#json('GET', `/v1/datasets/${encodeURIComponent(id)}`);
  }

  /** @param options - an idempotency key makes the call safe to repeat; the client itself repeats it only with one */
  async createJob(job: JobRequest, options: { readonly idempotencyKey?: string } = {}): Promise<Job> {
    const { idempotencyKey } = options;
    return this.#json('POST', '/v1/jobs', {
      json: job,
      ...(idempotencyKey === undefined ? {} : { headers: { 'idempotency-key': idempotencyKey } }),
    });
  }

  /** Validates, plans and estimates; nothing is stored. */
  async dryRun(job: JobRequest): Promise<DryRun> {
    return this.#json('POST', '/v1/jobs', { json: job, query: { dryRun: true } });
  }

  async getJob(id: string): Promise<Job> {
    return this.#json('GET', `/v1/jobs/${encodeURIComponent(id)}`);
  }

  async listJobs(
    query: {
      readonly status?: JobStatus;
      readonly model?: string;
      /** The trials of this search instead, in the order it asked for them. */
      readonly parent?: string;
      /** The trials of all searches instead. */
      readonly trials?: boolean;
      readonly limit?: number;
      readonly cursor?: string;
    } = {},
  ): Promise<Page<Job>> {
    return this.#json('GET', '/v1/jobs', { query });
  }

  async cancelJob(id: string): Promise<Job> {
    return this.#json('POST', `/v1/jobs/${encodeURIComponent(id)}/cancel`);
  }

  async deleteJob(id: string): Promise<void> {
    await this.#call('DELETE', `/v1/jobs/${encodeURIComponent(id)}`);
  }

  async passes(): Promise<Page<PassResource>> {
    return this.#json('GET', '/v1/passes');
  }

  async presets(): Promise<Page<PresetResource>> {
    return this.#json('GET', '/v1/presets');
  }

  /** Every event of the job from `after` on, until it is over. A broken stream is taken up again where it broke. */
  async *events(
    id: string,
    options: { readonly after?: number; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<JobEventMessage> {
    let after = options.after ?? 0;
    for (let failures = 0; failures < this.#tries; failures += 1) {
      try {
        const response = await this.#call('GET', `/v1/jobs/${encodeURIComponent(id)}/events`, {
          headers: { accept: 'text/event-stream', 'last-event-id': String(after) },
          signal: options.signal,
        });
        if (response.body === null) return;
        for await (const event of parseEvents(response.body)) {
          const data = JSON.parse(event.data) as Record<string, unknown> & { type: JobEventType; at: string };
          after = Number(event.id);
          failures = 0;
          yield { id: after, type: data.type, at: data.at, data };
        }
        if (TERMINAL.has((await this.getJob(id)).status)) return;
      } catch (error) {
        if (error instanceof TersorError || options.signal?.aborted === true) throw error;
      }
      await delay(500 * 2 ** failures, undefined, { signal: options.signal });
    }
    throw new TersorError('UNREACHABLE', `The events of job ${id} broke off ${this.#tries} times without news`);
  }

  /**
   * Follows the job to its end.
   *
   * @returns the job, whatever its end: look at `status`
   */
  async waitForJob(
    id: string,
    options: { readonly onEvent?: (event: JobEventMessage) => void; readonly signal?: AbortSignal } = {},
  ): Promise<Job> {
    for await (const event of this.events(id, options)) options.onEvent?.(event);
    return this.getJob(id);
  }

  /** The report as data; its fields are described in api documentation. */
  async report(id: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#json('GET', `/v1/jobs/${encodeURIComponent(id)}/report`, { query: { format: 'json' } });
  }

  /** The run's log: JSON lines. */
  async logs(id: string): Promise<string> {
    return (await this.#call('GET', `/v1/jobs/${encodeURIComponent(id)}/logs`)).text();
  }

  async artifacts(id: string): Promise<readonly ArtifactResource[]> {
    return (await this.#json<Page<ArtifactResource>>('GET', `/v1/jobs/${encodeURIComponent(id)}/artifacts`)).items;
  }

  /**
   * Writes an artifact to a file and checks its SHA-256 while doing so.
   *
   * @throws TersorError CHECKSUM when other bytes came than the service announced
   */
  async downloadArtifact(id: string, name: string, path: string): Promise<{ bytes: number; sha256: string }> {
    const response = await this.#call(
      'GET',
      `/v1/jobs/${encodeURIComponent(id)}/artifacts/${encodeURIComponent(name)}`,
    );
    const hash = createHash('sha256');
    let bytes = 0;
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        bytes += chunk.byteLength;
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(Readable.from(response.body ?? []), meter, createWriteStream(path));
    const sha256 = hash.digest('hex');
    if (response.headers.get('etag') !== `"${sha256}"`)
      throw new TersorError('CHECKSUM', `${name} of job ${id} arrived damaged: its SHA-256 is ${sha256}`);
    return { bytes, sha256 };
  }

  async #json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const response = await this.#call(method, path, options);
    // The service validates what it sends with the schemas these types come from.
    return (await response.json()) as T;
  }

  async #call(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const repeatable =
      method !== 'POST' || options.body !== undefined || options.headers?.['idempotency-key'] !== undefined;
    for (let attempt = 1; ; attempt += 1) {
      const last = attempt >= this.#tries || !repeatable;
      try {
        const response = await this.#send(method, path, options);
        if (response.ok) return response;
        const error = await problemError(response);
        if (last || !RETRIED.has(response.status)) throw error;
        await delay(Math.min(30, Number(response.headers.get('retry-after') ?? 1)) * 1000);
      } catch (error) {
        if (error instanceof TersorError || options.signal?.aborted === true) throw error;
        if (last) throw new TersorError('UNREACHABLE', `No answer from ${this.#baseUrl}`, { cause: error });
        await delay(200 * 2 ** attempt);
      }
    }
  }

  async #send(method: string, path: string, options: CallOptions): Promise<Response> {
    const url = new URL(this.#baseUrl + path);
    for (const [name, value] of Object.entries(options.query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const { headers: bodyHeaders, ...body } = (await options.body?.()) ?? {};
    const headers = new Headers({ accept: 'application/json', ...options.headers });
    for (const [name, value] of new Headers(bodyHeaders)) headers.set(name, value);
    if (this.#apiKey !== undefined) headers.set('authorization', `Bearer ${this.#apiKey}`);
    if (options.json !== undefined) headers.set('content-type', 'application/json');
    return fetch(url, {
      method,
      headers,
      ...(options.json === undefined ? {} : { body: JSON.stringify(options.json) }),
      ...body,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }
}

async function uploadBody(source: UploadSource): Promise<RequestInit & { duplex?: 'half' }> {
  const headers = { 'content-type': 'application/octet-stream' };
  if (source instanceof Uint8Array) return { headers, body: new Uint8Array(source) };
  const { size } = await stat(source.path).catch((error: unknown) => {
    // Not the service's fault, and no reason to try again.
    throw new TersorError('FILE_UNREADABLE', `Cannot read ${source.path}: ${messageOf(error)}`, { cause: error });
  });
  return {
    headers: { ...headers, 'content-length': String(size) },
    body: Readable.toWeb(createReadStream(source.path)) as ReadableStream<Uint8Array>,
    duplex: 'half',
  };
}

async function problemError(response: Response): Promise<TersorError> {
  const text = await response.text();
  try {
    const problem = JSON.parse(text) as Problem;
    return new TersorError(problem.code, problem.detail, { status: response.status, problem });
  } catch {
    // A proxy in between answered, not the service.
    return new TersorError('UNREACHABLE', `Unexpected answer ${response.status}: ${text.slice(0, 200)}`, {
      status: response.status,
    });
  }
}
