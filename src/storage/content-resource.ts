import { CompressionError } from '../errors.ts';
import type { SourceBody } from '../schemas/common.ts';
import type { SourceReader } from './source-reader.ts';
import type { Spool, SpooledFile, SpoolLimits } from './spool.ts';

/** Brings an object of an allowed bucket into the spool; size is checked before a byte is fetched. */
export async function takeSource(
  request: SourceBody,
  reader: SourceReader,
  target: { readonly spool: Spool; readonly name: string; readonly limits: SpoolLimits },
): Promise<SpooledFile> {
  const object = await reader.lookUp(request.source);
  if (object.bytes > target.limits.maxBytes)
    throw new CompressionError(
      'LIMIT_SIZE',
      `${request.source} has ${object.bytes} bytes, the limit is ${target.limits.maxBytes}`,
    );
  const file = await target.spool.take(target.name, await object.open(), target.limits);
  if (file.bytes !== object.bytes)
    throw new CompressionError(
      'INPUT_CHANGED',
      `${request.source} gave ${file.bytes} bytes, but had ${object.bytes} when it was looked up; retry`,
    );
  if (request.sha256 !== undefined && request.sha256 !== file.sha256)
    throw new CompressionError(
      'INPUT_CHECKSUM',
      `${request.source} has SHA-256 ${file.sha256}, expected ${request.sha256}`,
      { places: [{ pointer: '/sha256', message: `the object has ${file.sha256}` }] },
    );
  return file;
}
