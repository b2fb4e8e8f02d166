import { SeededRandom } from '../seeded-random.ts';

/** What a generator is for, so that no two uses with the same numbers draw the same values. */
export const STREAM = {
  split: 1,
  blocks: 2,
  window: 3,
  sample: 4,
  batch: 5,
  dropout: 6,
  subnetwork: 7,
  operation: 8,
} as const;

/**
 * 53 bits that depend on every bit of every part: two lanes of the murmur3 finalizer.
 * @param parts - whole numbers from 0 to 2^53 - 1; their order counts
 */
export function hashKey(...parts: readonly number[]): number {
  let low = 0x9e3779b9;
  let high = 0x243f6a88;
  for (const part of parts) {
    for (const word of [part >>> 0, Math.floor(part / 2 ** 32) >>> 0]) {
      low = mix32(low ^ word);
      high = mix32((high + Math.imul(word, 0x85ebca77) + low) | 0);
    }
  }
  return (high >>> 11) * 2 ** 32 + (low >>> 0);
}

function mix32(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) + 0x6d2b79f5;
}

/** A generator that depends on the key alone: never on what was drawn before, by whom, or in which thread. */
export function keyedRandom(...parts: readonly number[]): SeededRandom {
  return new SeededRandom(hashKey(...parts));
}

/** A whole number in [0, below); below at most 2^32. */
export function uniformInt(random: SeededRandom, below: number): number {
  return Math.floor(random.uniform() * below);
}

/** A number in [from, to). */
export function uniformIn(random: SeededRandom, from: number, to: number): number {
  return from + (to - from) * random.uniform();
}

/** Fisher-Yates, in place. O(n). */
export function shuffle(items: Uint32Array, random: SeededRandom): Uint32Array {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = uniformInt(random, last + 1);
    const kept = items[last] ?? 0;
    items[last] = items[other] ?? 0;
    items[other] = kept;
  }
  return items;
}
