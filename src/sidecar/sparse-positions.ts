import { decodeSymbols, encodeSymbols } from '../numerics/range-coder.ts';

/**
 * `kept` of each `group` consecutive places along one axis are stored; places behind the last whole group all are. The tensor
 * is seen as [outer, axis, inner].
 */
export interface GroupPattern {
  readonly axis: number;
  readonly inner: number;
  readonly kept: number;
  readonly group: number;
}

/** Kinds of position codes, by their number in the file. */
const [BITMAP, GAPS, N_OF_M] = [0, 1, 2];
/** A gap symbol that says so many zeros and that the gap goes on. */
const LONG_GAP = 255;
const MAX_COMBINATIONS = 256;
/** Masks of so many bits are exact numbers. */
const MAX_GROUP = 32;

/**
 * Which elements are stored, coded in the shortest of the ways that apply:
 *
 * - bitmap (0): a symbol of two an element, 1 where it is stored
 * - gaps (1): the number of symbols (4 bytes), then for each stored element how many others lie before it, as symbols of 256: 255
 *   stands for 255 of them and goes on
 * - n of m (2): axis, inner, n, m (4 bytes each), then a symbol for each group in the order (outer, group, inner): the rank of its
 *   mask among the masks of m bits with n ones, in rising order; bit j is place j of the group
 *
 * The symbols are range-coded; the first 4 bytes are the kind.
 *
 * @param stored - 1 or 0 for each element
 * @param pattern - tried where every group keeps no more than it says; the lowest free places of a group with fewer count as stored
 * @returns the code, and what is stored: more than was asked for only in groups with fewer
 */
export function encodePositions(
  stored: Uint8Array,
  pattern: GroupPattern | undefined,
): { readonly code: Uint8Array; readonly stored: Uint8Array } {
  const gaps = gapSymbols(stored);
  const options = [
    { code: join([BITMAP], encodeSymbols(stored, 2)), stored },
    { code: join([GAPS, gaps.length], encodeSymbols(gaps, 256)), stored },
  ];
  const grouped = pattern === undefined ? undefined : groupSymbols(stored, pattern);
  if (pattern !== undefined && grouped !== undefined) {
    const { axis, inner, kept, group } = pattern;
    const code = encodeSymbols(grouped.symbols, grouped.masks);
    options.push({ code: join([N_OF_M, axis, inner, kept, group], code), stored: grouped.stored });
  }
  return options.reduce((best, one) => (one.code.length < best.code.length ? one : best));
}

/** @throws RangeError for a code that is none of so many elements */
export function decodePositions(code: Uint8Array, elements: number): Uint8Array {
  const [kind] = integers(code, 1);
  switch (kind) {
    case BITMAP:
      return decodeSymbols(code.subarray(4), elements, 2);
    case GAPS: {
      const [, symbols = 0] = integers(code, 2);
      return fromGaps(code.subarray(8), symbols, elements);
    }
    case N_OF_M: {
      const [, axis = 0, inner = 0, kept = 0, group = 0] = integers(code, 5);
      return fromGroups(code.subarray(20), { axis, inner, kept, group }, elements);
    }
    default:
      throw new RangeError(`positions are coded in a way ${kind ?? ''} that there is not`);
  }
}

function gapSymbols(stored: Uint8Array): Uint8Array {
  const symbols: number[] = [];
  let gap = 0;
  for (const one of stored) {
    if (one === 0) {
      gap += 1;
      continue;
    }
    for (; gap >= LONG_GAP; gap -= LONG_GAP) symbols.push(LONG_GAP);
    symbols.push(gap);
    gap = 0;
  }
  return Uint8Array.from(symbols);
}

function fromGaps(code: Uint8Array, count: number, elements: number): Uint8Array {
  if (count > elements + Math.floor(elements / LONG_GAP)) {
    throw new RangeError(`${count} gaps are too many for ${elements} elements`);
  }
  const stored = new Uint8Array(elements);
  let at = 0;
  for (const symbol of decodeSymbols(code, count, 256)) {
    at += symbol;
    if (symbol === LONG_GAP) continue;
    if (at >= elements) throw new RangeError(`gaps lead past the last of ${elements} elements`);
    stored[at] = 1;
    at += 1;
  }
  return stored;
}

/** Masks with `kept` of `group` bits set, rising; undefined where they are more than symbols. */
function masksOf({ kept, group }: GroupPattern): readonly number[] | undefined {
  let combinations = 1;
  for (let i = 1; i <= Math.min(kept, group - kept); i += 1) combinations = (combinations * (group - i + 1)) / i;
  if (combinations > MAX_COMBINATIONS) return undefined;
  const masks: number[] = [];
  const extend = (place: number, left: number, mask: number): void => {
    if (left === 0) masks.push(mask);
    else for (let next = place; next <= group - left; next += 1) extend(next + 1, left - 1, mask + 2 ** next);
  };
  extend(0, kept, 0);
  return masks.sort((a, b) => a - b);
}

/** Calls back with the first element of each group, and the distance between its places. */
function eachGroup({ axis, inner, group }: GroupPattern, elements: number, visit: (first: number) => void): void {
  for (let outer = 0; outer < elements; outer += axis * inner) {
    for (let i = 0; i + group <= axis; i += group) {
      for (let k = 0; k < inner; k += 1) visit(outer + i * inner + k);
    }
  }
}

function groupSymbols(
  given: Uint8Array,
  pattern: GroupPattern,
): { readonly symbols: Uint8Array; readonly masks: number; readonly stored: Uint8Array } | undefined {
  const { axis, inner, kept, group } = pattern;
  const masks = isGroupPattern(pattern, given.length) ? masksOf(pattern) : undefined;
  if (masks === undefined) return undefined;
  const ranks = new Map(masks.map((mask, rank) => [mask, rank]));
  // What no whole group covers is stored.
  const stored = new Uint8Array(given.length).fill(1);
  const symbols = new Uint8Array((given.length / axis) * Math.floor(axis / group));
  let [at, fits] = [0, true];
  eachGroup(pattern, given.length, (first) => {
    let free = kept;
    for (let j = 0; j < group; j += 1) free -= given[first + j * inner] ?? 0;
    let mask = 0;
    for (let j = 0; j < group; j += 1) {
      const isSet = given[first + j * inner] === 1;
      const isFilled = !isSet && free > 0;
      if (isFilled) free -= 1;
      if (isSet || isFilled) mask += 2 ** j;
      stored[first + j * inner] = isSet || isFilled ? 1 : 0;
    }
    const rank = ranks.get(mask);
    fits &&= rank !== undefined;
    symbols[at] = rank ?? 0;
    at += 1;
  });
  return fits ? { symbols, masks: masks.length, stored } : undefined;
}

function fromGroups(code: Uint8Array, pattern: GroupPattern, elements: number): Uint8Array {
  const { axis, inner, group, kept } = pattern;
  const masks = isGroupPattern(pattern, elements) ? masksOf(pattern) : undefined;
  if (masks === undefined) {
    throw new RangeError(`${kept} of ${group} along [${axis}, ${inner}] cannot be, of ${elements} elements`);
  }
  const symbols = decodeSymbols(code, (elements / axis) * Math.floor(axis / group), masks.length);
  const stored = new Uint8Array(elements).fill(1);
  let at = 0;
  eachGroup(pattern, elements, (first) => {
    const mask = masks[symbols[at] ?? 0] ?? 0;
    for (let j = 0; j < group; j += 1) stored[first + j * inner] = Math.floor(mask / 2 ** j) % 2;
    at += 1;
  });
  return stored;
}

function isGroupPattern({ axis, inner, kept, group }: GroupPattern, elements: number): boolean {
  if (kept < 1 || kept >= group || group > MAX_GROUP || axis < 1 || inner < 1) return false;
  return elements % (axis * inner) === 0;
}

/** The first integers of a code, 4 bytes each. */
function integers(code: Uint8Array, count: number): readonly number[] {
  if (code.length < 4 * count) throw new RangeError('its positions break off');
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  return Array.from({ length: count }, (_, i) => view.getUint32(4 * i, true));
}

function join(numbers: readonly number[], code: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 * numbers.length + code.length);
  const view = new DataView(bytes.buffer);
  for (const [i, number] of numbers.entries()) view.setUint32(4 * i, number, true);
  bytes.set(code, 4 * numbers.length);
  return bytes;
}
