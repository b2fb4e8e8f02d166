import { CompressionError, messageOf } from '../src/errors.ts';

const CODES = new Set<unknown>(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** DISK_FULL for what the system reports when a file cannot grow; undefined for anything else. */
export function diskFull(error: unknown): CompressionError | undefined {
  if (!(error instanceof Error) || !('code' in error) || !CODES.has(error.code)) return undefined;
  return new CompressionError('DISK_FULL', `no space is left for the files of the job: ${messageOf(error)}`, {
    cause: error,
  });
}
