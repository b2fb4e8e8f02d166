import { setTimeout as delay } from 'node:timers/promises';
import { CompressionError, messageOf } from '../errors.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Names that a retry cannot help: the request, the rights or this machine's clock is wrong. */
const PERMANENT = new Set([
  'AccessDenied',
  'AllAccessDisabled',
  'CredentialsProviderError',
  'ExpiredToken',
  'InvalidAccessKeyId',
  'InvalidBucketName',
  'InvalidToken',
  'NoSuchBucket',
  'PermanentRedirect',
  'RequestTimeTooSkewed',
  'SignatureDoesNotMatch',
]);

export interface S3Failure {
  readonly name: string;
  readonly status: number | undefined;
  /** Requests the SDK made before it gave up. */
  readonly attempts: number;
}

export function failureOf(error: unknown): S3Failure {
  const metadata: unknown =
    typeof error === 'object' && error !== null && '$metadata' in error ? error.$metadata : undefined;
  const field = (name: string): number | undefined => {
    if (typeof metadata !== 'object' || metadata === null) return undefined;
    const value: unknown = Reflect.get(metadata, name);
    return typeof value === 'number' ? value : undefined;
  };
  return {
    name: error instanceof Error ? error.name : 'unknown',
    status: field('httpStatusCode'),
    attempts: field('attempts') ?? 1,
  };
}

/** By name, not by status 404: that also stands for a bucket, an upload or a key id that is not there. */
export function isMissing(error: unknown): boolean {
  const { name } = failureOf(error);
  return name === 'NoSuchKey' || name === 'NotFound';
}

export function isPreconditionFailed(error: unknown): boolean {
  return failureOf(error).status === 412;
}

/** Busy, broken or silent: the same request may go through later. 409 is a race with another conditional write. */
export function isTransient(error: unknown): boolean {
  if (error instanceof CompressionError) return false;
  const { name, status } = failureOf(error);
  if (PERMANENT.has(name)) return false;
  return status === undefined || status === 200 || status === 408 || status === 409 || status === 429 || status >= 500;
}

/**
 * Repeats the request while its errors are transient, with full jitter between tries, for about `patienceMs`. The SDK's
 * own three tries are over within a second, which no real outage is.
 *
 * @param work - gets the number of requests that earlier tries made, so that it can doubt a conflict
 */
export async function withPatience<T>(patienceMs: number, work: (earlier: number) => Promise<T>): Promise<T> {
  const end = performance.now() + patienceMs;
  let earlier = 0;
  for (let round = 0; ; round++) {
    try {
      return await work(earlier);
    } catch (error) {
      const pauseMs = Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** round, LONGEST_PAUSE_MS);
      if (!isTransient(error) || performance.now() + pauseMs > end) throw error;
      earlier += failureOf(error).attempts;
      await delay(pauseMs);
    }
  }
}

/**
 * The error a caller sees.
 *
 * @param input - the object is something a client named: refused access is then the client's business (INPUT_DENIED)
 */
export function s3Error(error: unknown, action: string, input = false): unknown {
  if (error instanceof CompressionError) return error;
  const { name, status } = failureOf(error);
  const said = `${name}${status === undefined ? '' : ` (HTTP ${status})`}: ${messageOf(error)}`;
  if (input && status === 403 && name !== 'RequestTimeTooSkewed') {
    return new CompressionError(
      'INPUT_DENIED',
      `cannot ${action}: ${said}; give this service's key the right to read it`,
      {
        cause: error,
      },
    );
  }
  const advice =
    name === 'RequestTimeTooSkewed'
      ? "; this machine's clock is off by more than 15 minutes: set it"
      : PERMANENT.has(name) || (status !== undefined && status >= 400 && status <= 404)
        ? '; check S3_BUCKET, S3_REGION, S3_ENDPOINT and the credentials'
        : '';
  return new CompressionError('OBJECT_STORE_UNAVAILABLE', `cannot ${action}: ${said}${advice}`, {
    cause: error,
    retryAfterSeconds: 5,
  });
}
