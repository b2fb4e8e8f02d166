import { CompressionError } from '../errors.ts';

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9_.=@+-]{0,199}$/;
const MAX_KEY_LENGTH = 900;

/**
 * Refuses a key that could leave the store's root or mean two things: each `/`-separated segment is 1..200 characters
 * of `A-Z a-z 0-9 _ . = @ + -`, not starting with a dot or a sign, so `..`, absolute paths, drive letters and NUL
 * cannot occur.
 * @throws CompressionError BAD_REQUEST
 */
export function assertObjectKey(key: string): void {
  if (key.length <= MAX_KEY_LENGTH && key.split('/').every((segment) => SEGMENT.test(segment))) return;
  throw new CompressionError(
    'BAD_REQUEST',
    `object key ${JSON.stringify(key.slice(0, 200))} is not valid: expected segments of 1 to 200 characters ` +
      `A-Z a-z 0-9 _ . = @ + - that start with a letter, digit or _, separated by /`,
  );
}

/** The same for a listing prefix, which may be empty, end with `/` or stop within a segment. */
export function assertObjectPrefix(prefix: string): void {
  if (prefix === '') return;
  assertObjectKey(prefix.endsWith('/') ? prefix.slice(0, -1) : prefix);
}
