import { CompressionError } from '../errors.ts';
import { JobId } from '../schemas/common.ts';
import { statusOf } from '../schemas/job-view.ts';
import type { JobRecord } from '../schemas/job.ts';
import { TrialLog } from '../schemas/trial.ts';
import { mapConcurrently } from './concurrency.ts';
import type { JobCore } from './job-core.ts';
import { AFTER_TRIALS, isTrialId } from './job-ids.ts';
import { recordKey, recordsPrefix } from './job-keys.ts';
import { decodeJson } from './job-records.ts';
import type { JobPage, JobQuery } from './job-service.ts';

const CONCURRENCY = 16;
/** Jobs one filtered page looks at. */
const SCAN_LIMIT = 500;
const SCAN_BATCH = 50;
/** A search that goes on replaces its log: so often is the record read again. */
const LOG_TRIES = 5;

/** Ids that come after the cursor, in the order of the list, at most `limit`. */
type IdsAfter = (cursor: string | undefined, limit: number) => Promise<readonly string[]>;

/**
 * The tenant's jobs newest first, without trials; or the trials alone, newest first; or those of one search, in the order
 * it asked for them.
 *
 * @throws CompressionError QUERY_INVALID for a cursor that is no job id, or none of that list
 */
export async function listJobs(core: JobCore, tenant: string, query: JobQuery): Promise<JobPage> {
  const { status, model, limit, cursor, parent, trials = false } = query;
  const ofThisList = cursor === undefined || parent !== undefined || isTrialId(cursor) === trials;
  if (cursor !== undefined && !(JobId.safeParse(cursor).success && ofThisList)) throw badCursor(cursor);
  const idsAfter: IdsAfter =
    parent === undefined
      ? (after, most) => storedIds(core, { tenant, trials, after, limit: most })
      : idsIn(await trialsOf(core, tenant, parent));
  const filtered = status !== undefined || model !== undefined;
  const batch = filtered ? SCAN_BATCH : limit;
  const items: JobRecord[] = [];
  let last = cursor;
  for (let scanned = 0; scanned < SCAN_LIMIT; scanned += batch) {
    // One more than needed tells whether there is a next page.
    const ids = await idsAfter(last, batch + 1);
    const read = async (id: string) => (await core.records.read(tenant, id))?.record;
    const found = await mapConcurrently(ids.slice(0, batch), CONCURRENCY, read);
    for (const [index, id] of ids.slice(0, batch).entries()) {
      last = id;
      const record = found[index];
      if (record === undefined) continue; // removed since the listing
      if ((status !== undefined && statusOf(record) !== status) || (model !== undefined && record.model !== model))
        continue;
      items.push(record);
      if (items.length === limit) return { items, nextCursor: index + 1 < ids.length ? id : null };
    }
    if (ids.length <= batch) return { items, nextCursor: null };
  }
  return { items, nextCursor: last ?? null };
}

/** Jobs of all trials that the search has asked for, in that order; those of other searches among them, where it shares them. */
export async function trialsOf(core: JobCore, tenant: string, jobId: string): Promise<readonly string[]> {
  for (let tries = 0; tries < LOG_TRIES; tries++) {
    const search = (await core.records.read(tenant, jobId))?.record.search;
    if (search === undefined) return [];
    const found = await core.store.get(search.key);
    if (found === undefined) continue;
    const { entries } = TrialLog.parse(decodeJson(search.key, found.body));
    return entries.flatMap(({ job }) => job ?? []);
  }
  return [];
}

function idsIn(ids: readonly string[]): IdsAfter {
  return (cursor, limit) => {
    const place = cursor === undefined ? -1 : ids.indexOf(cursor);
    if (cursor !== undefined && place < 0) throw badCursor(cursor);
    return Promise.resolve(ids.slice(place + 1, place + 1 + limit));
  };
}

async function storedIds(
  core: JobCore,
  {
    tenant,
    trials,
    after,
    limit,
  }: { readonly tenant: string; readonly trials: boolean; readonly after: string | undefined; readonly limit: number },
): Promise<readonly string[]> {
  const prefix = recordsPrefix(tenant);
  // Trials stand before all others.
  const from = after ?? (trials ? undefined : AFTER_TRIALS);
  const page = await core.store.list(prefix, {
    limit,
    ...(from === undefined ? {} : { after: recordKey(tenant, from) }),
  });
  const ids = page.map((info) => info.key.slice(prefix.length, -'.json'.length));
  return ids.filter((id) => isTrialId(id) === trials);
}

function badCursor(cursor: string): CompressionError {
  return new CompressionError('QUERY_INVALID', `cursor ${JSON.stringify(cursor)} is not a nextCursor of this list`, {
    places: [{ pointer: '/cursor', message: 'must be the nextCursor of the page before' }],
  });
}
