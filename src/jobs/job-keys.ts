import { createHash } from 'node:crypto';
import { CompressionError } from '../errors.ts';

/**
 * Where the parts of a job lie in the store:
 *
 * ```
 * tenants/<tenant>/jobs/<job>.json                           the record; a plain listing is newest first
 * tenants/<tenant>/job-files/<job>/events/<8 digits>.json    the event log, one object an event
 * tenants/<tenant>/job-files/<job>/attempts/<n>/<name>       what attempt n wrote; its manifest.json comes last
 * tenants/<tenant>/idempotency/<sha256 of the key>.json      which job answered a key
 * tenants/<tenant>/trials/<sha256 of what it runs>.json      which job ran a trial
 * pending/<job>@<tenant>                                     marker: the job is not over; of a trial with @trial behind
 * ```
 */
export const PENDING_PREFIX = 'pending/';
const TRIAL_MARK = '@trial';

const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export function recordsPrefix(tenant: string): string {
  return `${tenantPrefix(tenant)}jobs/`;
}

export function recordKey(tenant: string, jobId: string): string {
  return `${recordsPrefix(tenant)}${jobId}.json`;
}

/** Everything of a job but its record. */
export function filesPrefix(tenant: string, jobId: string): string {
  return `${tenantPrefix(tenant)}job-files/${jobId}/`;
}

export function eventsPrefix(tenant: string, jobId: string): string {
  return `${filesPrefix(tenant, jobId)}events/`;
}

export function eventKey(tenant: string, jobId: string, eventId: number): string {
  return `${eventsPrefix(tenant, jobId)}${String(eventId).padStart(8, '0')}.json`;
}

/** What an attempt may write under; artifacts lie at `attemptPrefix(…) + name`. */
export function attemptPrefix(tenant: string, jobId: string, attempt: number): string {
  return `${filesPrefix(tenant, jobId)}attempts/${attempt}/`;
}

export function manifestKey(tenant: string, jobId: string, attempt: number): string {
  return `${attemptPrefix(tenant, jobId, attempt)}manifest.json`;
}

export function idempotencyKey(tenant: string, key: string): string {
  return `${tenantPrefix(tenant)}idempotency/${createHash('sha256').update(key).digest('hex')}.json`;
}

export function trialKey(tenant: string, hash: string): string {
  return `${tenantPrefix(tenant)}trials/${hash}.json`;
}

export function markerKey(job: { readonly tenant: string; readonly id: string; readonly trial?: unknown }): string {
  return `${PENDING_PREFIX}${job.id}@${job.tenant}${job.trial === undefined ? '' : TRIAL_MARK}`;
}

/** Job and tenant of a marker's key; undefined for a key that is none. */
export function parseMarker(
  key: string,
): { readonly jobId: string; readonly tenant: string; readonly isTrial: boolean } | undefined {
  const [jobId, tenant, mark] = key.slice(PENDING_PREFIX.length).split('@');
  if (jobId === undefined || tenant === undefined || !TENANT.test(tenant)) return undefined;
  return { jobId, tenant, isTrial: mark !== undefined };
}

function tenantPrefix(tenant: string): string {
  if (TENANT.test(tenant)) return `tenants/${tenant}/`;
  throw new CompressionError(
    'CONFIG_INVALID',
    `tenant ${JSON.stringify(tenant)} is not valid: expected 1 to 64 characters A-Z a-z 0-9 . _ - that start with a ` +
      'letter or digit; correct API_KEYS',
  );
}
