import { CompressionError, type ErrorPlace } from '../errors.ts';
import { pointerOf } from '../schemas/error-places.ts';

const MAX_DEPTH = 32;
const MAX_PLACES = 20;

/** C0 and C1 controls, DEL, and the marks that reorder text for the eye (CVE-2021-42574). */
// eslint-disable-next-line no-control-regex -- these are the characters that must not get in
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

const LONE_SURROGATE = /\p{Surrogate}/u;

/** Why a string may not enter: control or direction characters, or half a surrogate pair. Undefined when it may. */
export function forbiddenText(text: string): string | undefined {
  if (FORBIDDEN.test(text)) return 'must not contain control or text-direction characters';
  if (LONE_SURROGATE.test(text)) return 'must be well-formed Unicode (it has half of a surrogate pair)';
  return undefined;
}

/**
 * JSON as we take it: UTF-8, at most 32 levels, no `__proto__`, no text that could hide something, finite numbers.
 * Equal keys: the last one wins, as everywhere in JavaScript, and is then validated.
 *
 * @throws CompressionError BODY_INVALID with pointers
 */
export function parseStrictJson(bytes: Uint8Array): unknown {
  if (bytes.byteLength === 0) throw new CompressionError('BODY_INVALID', 'The body is empty, expected JSON');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new CompressionError('BODY_INVALID', 'The body is not valid UTF-8', { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CompressionError('BODY_INVALID', 'The body is not valid JSON', { cause: error });
  }
  checkValues(value);
  return value;
}

interface Place {
  readonly value: unknown;
  readonly path: readonly PropertyKey[];
}

/** Walks without recursion, so that depth costs no stack. */
function checkValues(root: unknown): void {
  const places: ErrorPlace[] = [];
  const report = (path: readonly PropertyKey[], message: string): void => {
    if (places.length < MAX_PLACES) places.push({ pointer: printable(pointerOf(path)), message });
  };
  const pending: Place[] = [{ value: root, path: [] }];
  for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
    const { value, path } = place;
    if (path.length > MAX_DEPTH) {
      throw new CompressionError('BODY_INVALID', `The body is nested deeper than ${MAX_DEPTH} levels`);
    }
    if (typeof value === 'string') {
      const reason = forbiddenText(value);
      if (reason !== undefined) report(path, reason);
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) report(path, 'must be a finite number');
      else if (Object.is(value, -0)) report(path, 'must not be -0; send 0');
    } else if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) pending.push({ value: item, path: [...path, index] });
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) {
        if (key === '__proto__' || (key === 'constructor' && typeof item === 'object'))
          report([...path, key], 'is not a name a field can have');
        else {
          const reason = forbiddenText(key);
          if (reason === undefined) pending.push({ value: item, path: [...path, key] });
          else report([...path, key], `name ${reason}`);
        }
      }
    }
  }
  if (places.length > 0)
    throw new CompressionError('BODY_INVALID', `The body is not valid: ${places[0]?.pointer} ${places[0]?.message}`, {
      places,
    });
}

/** The pointer goes back to the client and into the log: what was refused in it is shown as an escape. */
function printable(pointer: string): string {
  return JSON.stringify(pointer.slice(0, 200))
    .slice(1, -1)
    .replace(/[\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}
