import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { classDivergences } from '../../src/passes/class-divergence.ts';

const near = (actual: number, expected: number): void => {
  assert.ok(Math.abs(actual - expected) < 1e-6, `${actual}, expected ${expected}`);
};
const scores = (...values: number[]): Float32Array => Float32Array.from(values);

describe('divergence of classes', () => {
  // KL((1/4, 3/4) || (1/2, 1/2)) = ln 2 - H(1/4) = 0.693147 - 0.562335, with the binary entropy H in nats.
  const known = 0.1308120408;

  it('takes the softmax of scores, whatever is added to all of them', () => {
    const one = { count: 1, classes: 2 };
    near(classDivergences(scores(0, Math.log(3)), scores(0, 0), one), known);
    near(classDivergences(scores(90, 90 + Math.log(3)), scores(-40, -40), one), known);
  });

  it('takes probabilities as they are, and sums over the samples that count', () => {
    const two = { count: 2, classes: 2 };
    near(classDivergences(scores(0.25, 0.75, 0.5, 0.5, 7, 7), scores(0.5, 0.5, 0.5, 0.5, 1, 0), two), known);
  });

  it('stays finite where a class is ruled out', () => {
    const one = { count: 1, classes: 2 };
    near(classDivergences(scores(1, 0), scores(0, 1), one), Math.log(1e9));
    near(classDivergences(scores(1, -Infinity), scores(1, 1), one), Math.log(2));
  });

  it('is infinite where scores are no numbers', () => {
    const one = { count: 1, classes: 2 };
    for (const bad of [scores(NaN, 1), scores(Infinity, 1)]) {
      assert.equal(classDivergences(scores(2, 1), bad, one), Infinity);
      assert.equal(classDivergences(bad, scores(2, 1), one), Infinity);
    }
  });
});
