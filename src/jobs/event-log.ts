import { z } from 'zod';
import { CompressionError } from '../errors.ts';
import { JobEventType } from '../schemas/job.ts';
import type { JobRecord } from '../schemas/job.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { mapConcurrently } from './concurrency.ts';
import { eventKey, eventsPrefix } from './job-keys.ts';
import { decodeJson, encodeJson } from './job-records.ts';
import type { JobEvent } from './job-service.ts';

const StoredEvent = z.object({
  id: z.number().int(),
  type: JobEventType,
  at: z.string(),
  data: z.record(z.string(), z.unknown()),
});

const PAGE = 1000;
const READ_CONCURRENCY = 16;
const MAX_TRIES = 50;

/** First id of a stored event: `job.queued`, id 1, follows from the record and is never stored. */
export const FIRST_STORED_EVENT = 2;

type TerminalType = 'job.succeeded' | 'job.failed' | 'job.canceled';
const TERMINAL_TYPES: ReadonlySet<string> = new Set<TerminalType>(['job.succeeded', 'job.failed', 'job.canceled']);

/**
 * One object an event, under ids that rise by one; `If-None-Match: *` decides who gets an id. Nothing follows a
 * terminal event: whoever would write one finds his id taken, and then that he has lost the job.
 */
export class EventLog {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** False when the id is taken. */
  async tryAppend(record: JobRecord, event: JobEvent): Promise<boolean> {
    const key = eventKey(record.tenant, record.id, event.id);
    return (await this.#store.put(key, encodeJson(event), { ifAbsent: true })).ok;
  }

  async lastId(record: JobRecord): Promise<number> {
    const prefix = eventsPrefix(record.tenant, record.id);
    let last: string | undefined;
    for (;;) {
      const page = await this.#store.list(prefix, { limit: PAGE, ...(last === undefined ? {} : { after: last }) });
      last = page.at(-1)?.key ?? last;
      if (page.length < PAGE) break;
    }
    return last === undefined ? FIRST_STORED_EVENT - 1 : Number.parseInt(last.slice(prefix.length), 10);
  }

  /**
   * The event that says how the job ended, written once, whoever asks and how often.
   *
   * @param guess - the id to try first, where the caller knows the end of the log
   */
  async appendTerminal(record: JobRecord, at: string, guess?: number): Promise<JobEvent> {
    let id = guess;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if (id === undefined) {
        const lastId = await this.lastId(record);
        const last = lastId < FIRST_STORED_EVENT ? undefined : await this.#read(record, lastId);
        if (last !== undefined && TERMINAL_TYPES.has(last.type)) return last;
        id = lastId + 1;
      }
      const event: JobEvent = { id, at: record.finishedAt ?? at, ...terminalEvent(record) };
      if (await this.tryAppend(record, event)) return event;
      id = undefined;
    }
    throw new CompressionError('OBJECT_STORE_UNAVAILABLE', `the event log of ${record.id} did not come to rest`);
  }

  /** Events after an id, at most 1000, in order. */
  async read(record: JobRecord, after: number): Promise<readonly JobEvent[]> {
    const keys = await this.#store.list(eventsPrefix(record.tenant, record.id), {
      after: eventKey(record.tenant, record.id, Math.max(after, 0)),
      limit: PAGE,
    });
    const stored = await mapConcurrently(keys, READ_CONCURRENCY, (info) => this.#decode(info.key));
    const events = stored.filter((event) => event !== undefined);
    return after >= 1 ? events : [queuedEvent(record), ...events];
  }

  async #read(record: JobRecord, id: number): Promise<JobEvent | undefined> {
    return this.#decode(eventKey(record.tenant, record.id, id));
  }

  async #decode(key: string): Promise<JobEvent | undefined> {
    const found = await this.#store.get(key);
    return found === undefined ? undefined : StoredEvent.parse(decodeJson(key, found.body));
  }
}

export function queuedEvent(record: JobRecord): JobEvent {
  return { id: 1, type: 'job.queued', at: record.createdAt, data: { status: 'queued' } };
}

function terminalEvent(record: JobRecord): Pick<JobEvent, 'type' | 'data'> {
  const { status, attempt } = record;
  switch (status) {
    case 'succeeded':
      return { type: 'job.succeeded', data: { status, attempt, verdict: record.verdict, summary: record.summary } };
    case 'failed':
      return { type: 'job.failed', data: { status, attempt, error: record.error } };
    case 'canceled':
      return { type: 'job.canceled', data: { status, attempt } };
    case 'queued':
    case 'running':
    case 'canceling':
      throw new CompressionError('INTERNAL', `job ${record.id} is ${status}, which is no end`);
  }
}
