import { CompressionError } from '../errors.ts';
import type { JobRecord } from '../schemas/job.ts';
import { queuedEvent } from './event-log.ts';
import type { JobCore } from './job-core.ts';

/** A marker without a record is swept after a minute (see the reconciler); a submit this slow sets it again. */
const SLOW_SUBMIT_MS = 20_000;

/**
 * Marker, record, enqueue. The marker first: a record without one would never be found after a crash.
 *
 * @returns the job of that id, which somebody else may have made in the meantime (`replayed`)
 */
export async function createRecord(
  core: JobCore,
  record: JobRecord,
): Promise<{ readonly record: JobRecord; readonly replayed: boolean }> {
  const start = core.clock.monotonic();
  await core.putMarker(record);
  if (!(await core.records.create(record))) {
    // Somebody with the same id made it, or our own write got through though its answer was lost.
    const made = await core.records.read(record.tenant, record.id);
    if (made === undefined) throw new CompressionError('OBJECT_STORE_UNAVAILABLE', `job ${record.id} was removed`);
    return { record: made.record, replayed: true };
  }
  if (core.clock.monotonic() - start > SLOW_SUBMIT_MS) await core.putMarker(record);
  core.emit(record, queuedEvent(record));
  await core.enqueue(record);
  return { record, replayed: false };
}
