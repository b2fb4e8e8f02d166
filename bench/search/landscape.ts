import { SearchSpace, type Point } from '../../src/search/space.ts';

/**
 * A landscape like a table of small trained networks: 6 edges with 5 operations each, a depth and a width; 15,625 x 12 x 16 =
 * 3,000,000 points, and an error in percent by a fixed formula:
 *
 *   error = 6 + sum over edges e of effect(e, op_e) + sum over neighbouring edges of pair(e, op_e, op_e+1)
 *         + 4 ((depth - best) / 12)^2 + 3 ((width - 11) / 16)^2 + noise(point),   best = 5, or 9 when edge 0 has 'skip'
 *
 * with effect in [0, 2), pair in [0, 1) and noise in [0, 0.2), each a hash of its arguments. Some operations are good on
 * most edges, choices depend on their neighbours, and the best depth depends on a choice, as in real tables.
 */
const OPERATIONS = ['none', 'skip', 'conv1', 'conv3', 'pool3'] as const;
const EDGES = 6;

export const landscapeSpace = new SearchSpace([
  ...Array.from({ length: EDGES }, (_, e) => ({ name: `edge${e}`, type: 'choice', values: OPERATIONS }) as const),
  { name: 'depth', type: 'integer', min: 1, max: 12 },
  { name: 'width', type: 'integer', min: 8, max: 128, step: 8 },
]);

export function landscapeError(point: Point): number {
  const coordinates = landscapeSpace.encode(point);
  const ops = coordinates.slice(0, EDGES);
  const depth = (coordinates[EDGES] ?? 0) + 1;
  const width = coordinates[EDGES + 1] ?? 0;
  let error = 6;
  ops.forEach((op, e) => {
    error += 2 * hash(1, e, op);
    const next = ops[e + 1];
    if (next !== undefined) error += hash(2, e, op, next);
  });
  const bestDepth = ops[0] === 1 ? 9 : 5;
  error += 4 * ((depth - bestDepth) / 12) ** 2 + 3 * ((width - 11) / 16) ** 2;
  return error + 0.2 * hash(3, ...coordinates);
}

/** Work of an operation, as convolutions have it: `conv3` nine times `conv1`. */
const WORK = [0, 0, 1, 9, 0] as const;
/** What a block has besides its edges. */
const REST = 1;

/** A second objective that is at odds with the error: the logarithm (base 10) of depth x width^2 x (1 + work of the operations), width in eights. */
export function landscapeLogCost(point: Point): number {
  const coordinates = landscapeSpace.encode(point);
  const work = coordinates.slice(0, EDGES).reduce((sum, op) => sum + (WORK[op] ?? 0), REST);
  const depth = (coordinates[EDGES] ?? 0) + 1;
  const width = (coordinates[EDGES + 1] ?? 0) + 1;
  return Math.log10(depth * width ** 2 * work);
}

/** Up to here hypervolumes of error and cost are counted: about the median error, and more than any cost. */
export const LANDSCAPE_REFERENCE = [16, 5.3] as const;

/** [0, 1) by the murmur3 finalizer over the words. */
function hash(...words: readonly number[]): number {
  let mixed = 0x9e3779b9;
  for (const word of words) {
    mixed ^= word + 0x6d2b79f5;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    mixed ^= mixed >>> 16;
  }
  return (mixed >>> 0) / 2 ** 32;
}
