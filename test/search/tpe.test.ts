import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { categoricalEstimator, parzenEstimator, type Estimator } from '../../src/search/parzen.ts';
import { SearchSpace } from '../../src/search/space.ts';
import { tpe } from '../../src/search/tpe.ts';
import { paretoSet } from '../../src/search/pareto.ts';
import { run, type Evaluate } from './helpers.ts';

describe('estimators', () => {
  it('categorical: counts and one observation spread evenly', () => {
    const estimator = categoricalEstimator([2, 2, 0], 4);
    // (1 + 1/4) / 4, (1/4) / 4, (2 + 1/4) / 4
    for (const [value, probability] of [1.25 / 4, 0.25 / 4, 2.25 / 4, 0.25 / 4].entries())
      assert.ok(Math.abs(Math.exp(estimator.logDensity(value)) - probability) < 1e-12);
  });

  it('reals: the mixture of cut normals, by SciPy', () => {
    // scipy 1.17.1: mean of truncnorm.pdf with means and deviations (0.3, 0.3), (0.4, 0.25) and the prior's (0.5, 1): the
    // larger distance to a neighbour or an end, but at least 1/4 with three of them. erfc is good to 1.2e-7.
    const reference = [
      [0, 0.7876355433217177],
      [0.1, 1.0237532983926083],
      [0.35, 1.4255601807323581],
      [0.5, 1.2981707035798074],
      [0.9, 0.46954844593093575],
    ] as const;
    const estimator = parzenEstimator([0.4, 0.3], Infinity);
    for (const [x, density] of reference)
      assert.ok(Math.abs(Math.exp(estimator.logDensity(x)) / density - 1) < 1e-6, `${x}`);
  });

  const cases: readonly [string, Estimator, number][] = [
    ['of ordered values', parzenEstimator([0, 5, 5, 6], 8), 8],
    ['of one ordered value', parzenEstimator([0], 1), 1],
    ['of values without order', categoricalEstimator([1, 1, 1, 0], 3), 3],
  ];
  for (const [what, estimator, count] of cases)
    it(`probabilities ${what} add up to 1, and are those of the samples`, () => {
      const rng = new SeededRandom(4);
      const drawn = new Float64Array(count);
      for (let i = 0; i < 20_000; i += 1) {
        const value = estimator.sample(rng);
        drawn[value] = (drawn[value] ?? 0) + 1 / 20_000;
      }
      let sum = 0;
      for (let value = 0; value < count; value += 1) {
        const probability = Math.exp(estimator.logDensity(value));
        sum += probability;
        assert.ok(Math.abs(probability - (drawn[value] ?? 0)) < 0.018); // 5 standard errors of a share of 20,000
      }
      assert.ok(Math.abs(sum - 1) < 1e-6);
    });
});

describe('tpe', () => {
  it('closes in on the best of reals and integers', () => {
    const space = new SearchSpace([
      { name: 'x', type: 'real', min: -5, max: 5 },
      { name: 'rate', type: 'real', min: 1e-5, max: 1, log: true },
      { name: 'n', type: 'integer', min: 0, max: 40 },
    ]);
    const evaluate: Evaluate = ({ x, rate, n }) => ({
      objectives: [(Number(x) - 2) ** 2 + (Math.log10(Number(rate)) + 3) ** 2 + ((Number(n) - 30) / 10) ** 2],
      violation: 0,
    });
    const finished = run(tpe(space, { seed: 6 }), evaluate, 120);
    const mean = (from: number) =>
      finished.slice(from, from + 15).reduce((s, t) => s + t.result.objectives[0]! / 15, 0);
    // Points at random have 8.3 + 4 + 4 or so on average.
    assert.ok(mean(0) > 8 && mean(105) < 2, `${mean(0)} then ${mean(105)}`);
  });

  it('goes by front when there are several objectives', () => {
    const space = new SearchSpace([
      { name: 'x', type: 'real', min: 0, max: 1 },
      { name: 'y', type: 'real', min: 0, max: 1 },
      { name: 'z', type: 'real', min: 0, max: 1 },
    ]);
    // The front is y = z = 0 with any x.
    const evaluate: Evaluate = ({ x, y, z }) => {
      const off = 1 + Number(y) + Number(z);
      return { objectives: [Number(x) * off, (1 - Number(x)) * off], violation: 0 };
    };
    const finished = run(tpe(space, { seed: 7 }), evaluate, 150);
    const front = paretoSet(finished.map(({ result }) => result)).map((i) => finished[i]!.candidate.point);
    const span = front.map(({ x }) => Number(x));
    assert.ok(Math.max(...span) - Math.min(...span) > 0.8);
    const late = finished
      .slice(100)
      .map(({ candidate }) => Number(candidate.point['y']) + Number(candidate.point['z']));
    assert.ok(late.reduce((sum, off) => sum + off / 50, 0) < 0.4);
  });
});
