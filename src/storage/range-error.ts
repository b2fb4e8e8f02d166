import { CompressionError } from '../errors.ts';

/** A byte range of which the object has nothing. */
export function rangeError(
  key: string,
  range: { readonly start: number; readonly end: number },
  size: number | undefined,
): CompressionError {
  return new CompressionError(
    'RANGE_NOT_SATISFIABLE',
    `range ${range.start}-${range.end} of ${key} is outside the object${size === undefined ? '' : ` of ${size} bytes`}`,
  );
}
