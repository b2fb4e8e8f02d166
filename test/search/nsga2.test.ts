import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ZDT, ZDT_REFERENCE, zdtSpace } from '../../bench/search/zdt.ts';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { hypervolume } from '../../src/search/hypervolume.ts';
import { nsga2 } from '../../src/search/nsga2.ts';
import { paretoSet } from '../../src/search/pareto.ts';
import { polynomialMutation, simulatedBinaryCrossover } from '../../src/search/real-variation.ts';
import { SearchSpace } from '../../src/search/space.ts';
import { run, type Evaluate } from './helpers.ts';

describe('nsga2', () => {
  for (const { name, evaluate, hypervolume: known } of ZDT)
    it(`reaches the front of ${name} (30 reals, population 100, 250 generations)`, () => {
      const evaluateProblem: Evaluate = (point) => ({ objectives: evaluate(point), violation: 0 });
      const finished = run(nsga2(zdtSpace, { seed: 1, population: 100 }), evaluateProblem, 25_000, 100);
      const reached = hypervolume(
        finished.map(({ result }) => result.objectives),
        ZDT_REFERENCE,
      );
      const share = reached / known;
      // Random points of the same number reach 0; the last digits of the known fronts are good to 1e-6.
      assert.ok(share > 0.99 && share < 1 + 1e-6, `${name}: ${share} of the front's hypervolume`);
    });

  it('asks the same whether a generation comes in one batch or in parts', () => {
    const evaluate: Evaluate = (point) => ({ objectives: ZDT[0]!.evaluate(point), violation: 0 });
    const whole = run(nsga2(zdtSpace, { seed: 3, population: 12 }), evaluate, 60, 12);
    const parts = run(nsga2(zdtSpace, { seed: 3, population: 12 }), evaluate, 60, 4);
    assert.deepEqual(parts, whole);
  });

  it('finds the constrained front of a mixed space', () => {
    // Minimize a and 20 - a - bonus(op) under a >= 5: the front is a = 5 .. 15 with the best op.
    const space = new SearchSpace([
      { name: 'a', type: 'integer', min: 0, max: 15 },
      { name: 'op', type: 'choice', values: ['x', 'y', 'best', 'z'] },
      { name: 'unused', type: 'integer', min: 0, max: 9 },
    ]);
    const evaluate: Evaluate = ({ a, op }) => ({
      objectives: [Number(a), 20 - Number(a) - (op === 'best' ? 2 : 0)],
      violation: Math.max(0, (5 - Number(a)) / 5),
    });
    const finished = run(nsga2(space, { seed: 5, population: 24 }), evaluate, 240, 24);
    const front = paretoSet(finished.map(({ result }) => result)).map((i) => finished[i]!.candidate.point);
    assert.ok(front.every(({ op }) => op === 'best'));
    assert.deepEqual(
      [...new Set(front.map(({ a }) => Number(a)))].sort((x, y) => x - y),
      [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    );
  });
});

describe('variation of reals', () => {
  it('polynomial mutation steps by 1 / (index + 2) on average', () => {
    // Integral of 1 - (2u)^(1/(index+1)) over u in [0, 1/2], twice; the bounds are too far to matter (0.5^21).
    const rng = new SeededRandom(1);
    let sum = 0;
    for (let i = 0; i < 20_000; i += 1) sum += Math.abs(polynomialMutation(0.5, 20, rng) - 0.5);
    assert.ok(Math.abs(sum / 20_000 - 1 / 22) < 1e-3); // standard error 3e-4
  });

  it('simulated binary crossover keeps the mean, and spreads as its density says', () => {
    // Density (index + 1) beta^index / 2 below 1, (index + 1) / beta^(index + 2) / 2 above; mean 8/17 + 8/15 for index 15.
    const rng = new SeededRandom(2);
    let spread = 0;
    for (let i = 0; i < 20_000; i += 1) {
      const [a, b] = simulatedBinaryCrossover([0.49, 0.51], 15, rng);
      assert.ok(Math.abs(a + b - 1) < 1e-12);
      spread += Math.abs(a - b) / 0.02;
    }
    assert.ok(Math.abs(spread / 20_000 - (8 / 17 + 8 / 15)) < 3e-3); // standard error 6e-4
  });

  it('stays in [0, 1]', () => {
    const rng = new SeededRandom(3);
    for (let i = 0; i < 5000; i += 1) {
      const [x, y] = [i % 5 === 0 ? 0 : rng.uniform(), i % 7 === 0 ? 1 : rng.uniform()];
      for (const value of [...simulatedBinaryCrossover([x, y], 1, rng), polynomialMutation(x, 1, rng)])
        assert.ok(value >= 0 && value <= 1, `${value}`);
    }
  });
});
