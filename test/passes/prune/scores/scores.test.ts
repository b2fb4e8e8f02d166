import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { chooseMasks, countOf, thresholdMask } from '../../../../src/passes/prune/scores/choose-masks.ts';
import { lampScores, randomScores } from '../../../../src/passes/prune/scores/element-scores.ts';
import { cubicSparsity } from '../../../../src/passes/prune/scores/schedule.ts';
import { keepMasks } from '../../../../src/passes/prune/scores/select-smallest.ts';
import { sparseBytes } from '../../../../src/passes/prune/scores/sparse-size.ts';
import type { WeightTarget } from '../../../../src/passes/layer-inputs/weight-targets.ts';

const target = (outputs: number, inputs: number, kernel = 1): WeightTarget => ({
  name: 'w',
  dims: [outputs, inputs, kernel],
  elements: outputs * inputs * kernel,
  nodes: [],
  layout: { outputs, inputs, kernel, outputStride: inputs * kernel, inputStride: kernel, groups: 1 },
});

describe('lampScores', () => {
  it('gives the values of the formula: squares over the sum of the squares that are no smaller', () => {
    // By hand from eq. 5 of Lee et al.: 9/9, 1/14, 4/13, .25/14.25.
    const scores = lampScores(Float32Array.of(3, -1, 2, 0.5));
    [1, 1 / 14, 4 / 13, 0.25 / 14.25].forEach((expected, i) =>
      assert.ok(Math.abs((scores[i] ?? 0) - expected) < 1e-12),
    );
  });

  it('orders a layer as magnitudes do, ties by index', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -4, max: 4 }), { minLength: 1, maxLength: 60 }), (values) => {
        const scores = lampScores(Float32Array.from(values));
        for (let i = 0; i < values.length; i += 1)
          for (let j = 0; j < values.length; j += 1) {
            const [a, b] = [Math.abs(values[i] ?? 0), Math.abs(values[j] ?? 0)];
            if (a < b || (a === b && a > 0 && i < j)) assert.ok((scores[i] ?? 0) < (scores[j] ?? 0));
          }
      }),
    );
  });
});

describe('keepMasks', () => {
  it('zeroes exactly as many as asked for, the lowest, ties by index', () => {
    const sorted = (scores: number[][]): [number, number][] =>
      scores
        .flat()
        .map((score, index): [number, number] => [score, index])
        .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 20 }), { minLength: 1, maxLength: 4 }),
        fc.nat(80),
        (scores, wanted) => {
          const count = Math.min(wanted, scores.flat().length);
          const masks = keepMasks(
            scores.map((part) => Float64Array.from(part)),
            count,
          ).flatMap((mask) => [...mask]);
          const lowest = new Set(
            sorted(scores)
              .slice(0, count)
              .map(([, index]) => index),
          );
          assert.deepEqual(
            masks,
            masks.map((_, index) => (lowest.has(index) ? 0 : 1)),
          );
        },
      ),
    );
  });
});

describe('chooseMasks', () => {
  it('keeps 2 of 4 along input channels, at each place of the kernel, and leaves a remainder dense', () => {
    const [outputs, inputs, kernel] = [3, 6, 2];
    const scores = Float64Array.from({ length: 36 }, (_, i) => (i * 7919) % 37);
    const mask = chooseMasks([target(outputs, inputs, kernel)], new Map([['w', scores]]), {
      kind: 'n-of-m',
      zeros: 2,
      m: 4,
    }).get('w');
    for (let o = 0; o < outputs; o += 1)
      for (let k = 0; k < kernel; k += 1) {
        const at = (i: number): number => (o * inputs + i) * kernel + k;
        const group = [0, 1, 2, 3].sort((a, b) => (scores[at(a)] ?? 0) - (scores[at(b)] ?? 0));
        assert.deepEqual(
          group.map((i) => mask?.[at(i)]),
          [0, 0, 1, 1],
        );
        assert.deepEqual([mask?.[at(4)], mask?.[at(5)]], [1, 1]);
      }
  });

  it('zeroes whole blocks and leaves what the edge cuts dense', () => {
    const scores = Float64Array.from({ length: 15 }, (_, i) => i);
    // 3 x 5 with blocks of 2 x 2: two whole blocks; the left one has the lower sum.
    const mask = chooseMasks([target(3, 5)], new Map([['w', scores]]), {
      kind: 'blocks',
      rows: 2,
      columns: 2,
      sparsity: 0.5,
    }).get('w');
    assert.deepEqual([...(mask ?? [])], [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('never counts all of a layer', () => {
    assert.equal(countOf(0.999, 9), 8);
    assert.equal(countOf(0.29, 100), 29);
  });
});

describe('thresholdMask', () => {
  it('compares absolute values, or multiples of the standard deviation', () => {
    const weights = Float32Array.of(-1, 1, -3, 3); // mean 0, deviation sqrt(5)
    assert.deepEqual([...thresholdMask(weights, 1)], [1, 1, 1, 1]);
    assert.deepEqual([...thresholdMask(weights, 1.01)], [0, 0, 1, 1]);
    assert.deepEqual([...thresholdMask(weights, { deviations: 0.44 })], [1, 1, 1, 1]);
    assert.deepEqual([...thresholdMask(weights, { deviations: 0.46 })], [0, 0, 1, 1]);
  });
});

describe('cubicSparsity', () => {
  it('gives the curve of the paper', () => {
    // s_f = 0.9, s_i = 0 at t = 0..10 of 10 steps, from eq. 1 of Zhu & Gupta.
    const expected = [0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9];
    expected.forEach((value, t) => assert.ok(Math.abs(cubicSparsity(0, 0.9, t / 10) - value) < 1e-9));
  });
});

it('randomScores are the same for the same seed, and zero what is zero first', () => {
  const weights = Float32Array.of(1, 0, 2, 3);
  assert.deepEqual(randomScores(weights, 7), randomScores(weights, 7));
  assert.notDeepEqual(randomScores(weights, 7), randomScores(weights, 8));
  assert.equal(randomScores(weights, 7)[1], -Infinity);
});

it('sparseBytes counts a bitmap and a CSR by hand', () => {
  assert.deepEqual(sparseBytes({ rows: 4, columns: 9 }, 10, 4), { bitmap: 5 + 40, csr: 20 + 60 });
});
