import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { erfc } from '../../src/numerics/erfc.ts';

describe('erfc', () => {
  it('agrees with scipy 1.17.1', () => {
    const reference = [
      [0, 1],
      [0.5, 0.4795001221869535],
      [1, 0.15729920705028516],
      [2.5, 0.00040695201744495886],
      [5, 1.5374597944280347e-12],
      [-1, 1.8427007929497148],
    ] as const;
    for (const [x, value] of reference) assert.ok(Math.abs(erfc(x) - value) <= 1.2e-7 * value, `${x}`);
  });
});
