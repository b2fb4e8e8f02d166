import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { Budget } from '../../src/search/budget.ts';
import { layerPolicy } from '../../src/search/layer-policy.ts';
import { mannWhitney } from '../../src/search/mann-whitney.ts';
import { policyGradient } from '../../src/search/policy-gradient.ts';
import { randomSearch } from '../../src/search/random.ts';
import { SearchSpace, type Point } from '../../src/search/space.ts';
import type { Strategy } from '../../src/search/strategy.ts';
import { run } from './helpers.ts';

/**
 * A network like those that mixed precision is searched for: 20 layers whose weights double twice on the way, each with 2 to 8
 * bits. A layer loses s 4^(2 - bits), s large where there are few weights, as is found in real networks, times a factor of 0.3 to 3 that
 * nothing tells; neighbours of which one has 2 bits lose a little more. The weights have 4 bits on average, at most.
 */
const LAYERS = 20;
const BITS = [2, 3, 4, 6, 8];
const random = new SeededRandom(77);
const layers = Array.from({ length: LAYERS }, (_, layer) => {
  const elements = 1000 * 4 ** Math.floor((3 * layer) / LAYERS);
  return { elements, sensitivity: (10_000 / elements) * 10 ** (random.uniform() - 0.5) };
});
const space = new SearchSpace(layers.map((_, layer) => ({ name: `layer${layer}`, type: 'choice', values: BITS })));
const total = layers.reduce((sum, { elements }) => sum + elements, 0);
const budget = new Budget(
  [{ limit: 4 * total, costs: layers.map(({ elements }) => BITS.map((bits) => bits * elements)) }],
  layers.map(({ elements }) => [(10 * elements) / total]),
);

const bitsOf = (point: Point): number[] => layers.map((_, layer) => Number(point[`layer${layer}`]));
const sizeOf = (point: Point): number =>
  bitsOf(point).reduce((sum, bits, layer) => sum + bits * (layers[layer]?.elements ?? 0), 0);

function loss(point: Point): number {
  const bits = bitsOf(point);
  return bits.reduce((sum, own, layer) => {
    const pair = own === 2 && bits[layer + 1] === 2 ? 0.5 : 0;
    return sum + (layers[layer]?.sensitivity ?? 0) * 4 ** (2 - own) + pair;
  }, 0);
}

/** The least loss within the limit after 100 trials in batches of 5, for each of 20 seeds. */
function bests(create: (seed: number) => Strategy): number[] {
  return Array.from({ length: 20 }, (_, seed) => {
    const finished = run(
      create(seed),
      (point) => ({ objectives: [loss(point)], violation: Math.max(0, sizeOf(point) / (4 * total) - 1) }),
      100,
      5,
    );
    return Math.min(
      ...finished.map(({ result }) => (result.violation > 0 ? Infinity : (result.objectives[0] ?? Infinity))),
    );
  });
}

describe('policy over layers', () => {
  const learned = bests((seed) => layerPolicy(space, { seed, budget }));

  for (const create of [randomSearch, policyGradient])
    it(`finds better points than ${create.name} that walks down to the budget, with as many trials`, () => {
      const { pValue } = mannWhitney(
        learned,
        bests((seed) => create(space, { seed, budget })),
        'less',
      );
      assert.ok(pValue < 0.05, `p = ${pValue}`);
    });

  it('and than random ones, and a policy gradient that has to learn the budget from what misses it', () => {
    for (const create of [randomSearch, policyGradient]) {
      const { pValue } = mannWhitney(
        learned,
        bests((seed) => create(space, { seed })),
        'less',
      );
      assert.ok(pValue < 0.05, `${create.name}: p = ${pValue}`);
    }
  });

  it('only asks what is within the budget, whatever it begins with', () => {
    const initial = BITS.map((bits) => Object.fromEntries(layers.map((_, layer) => [`layer${layer}`, bits])));
    const finished = run(
      layerPolicy(space, { seed: 3, budget, initial }),
      (point) => ({ objectives: [loss(point)], violation: 0 }),
      60,
      6,
    );
    assert.ok(finished.every(({ candidate }) => sizeOf(candidate.point) <= 4 * total));
    // 2, 3 and 4 bits everywhere are within and stay; 6 and 8 walk down.
    assert.deepEqual(
      finished.slice(0, 3).map(({ candidate }) => [...new Set(bitsOf(candidate.point))]),
      [[2], [3], [4]],
    );
  });

  it('asks the same after the same tells', () => {
    const evaluate = (point: Point) => ({ objectives: [loss(point)], violation: 0 });
    const points = (seed: number) =>
      run(layerPolicy(space, { seed, budget }), evaluate, 40, 4).map(({ candidate }) => candidate.point);
    assert.deepEqual(points(1), points(1));
    assert.notDeepEqual(points(1), points(2));
  });

  it('takes dimensions that are no layers beside them, and asks every point within a small budget', () => {
    const mixed = new SearchSpace([
      { name: 'rate', type: 'choice', values: ['low', 'high'] },
      { name: 'a', type: 'choice', values: [1, 2, 3] },
      { name: 'b', type: 'choice', values: [1, 2, 3] },
    ]);
    const small = new Budget([{ limit: 4, costs: [undefined, [1, 2, 3], [1, 2, 3]] }], [undefined, [], []]);
    const finished = run(
      layerPolicy(mixed, { seed: 1, budget: small }),
      ({ a }) => ({ objectives: [Number(a)], violation: 0 }),
      12,
      3,
    );
    const keys = finished.map(({ candidate: { point } }) =>
      ['rate', 'a', 'b'].map((name) => JSON.stringify(point[name])).join(' '),
    );
    const within = ['1 1', '1 2', '1 3', '2 1', '2 2', '3 1'].flatMap((pair) => [`"low" ${pair}`, `"high" ${pair}`]);
    assert.deepEqual(keys.toSorted(), within.toSorted());
  });
});

describe('budget', () => {
  const costs = [
    [5, 1, 3],
    [4, 2, 0],
  ];

  it('walks down layer by layer to the next cheaper choice until the limit holds', () => {
    const walk = (limit: number, from: number[]) => new Budget([{ limit, costs }], [[], []]).walkDown(from);
    assert.deepEqual(walk(9, [0, 0]), [0, 0]);
    assert.deepEqual(walk(7, [0, 0]), [2, 0]);
    assert.deepEqual(walk(6, [0, 0]), [2, 1]);
    assert.deepEqual(walk(4, [0, 0]), [1, 1]);
    assert.deepEqual(walk(0, [0, 0]), [1, 2], 'the cheapest where nothing is within');
  });

  it('keeps several limits at once', () => {
    const both = new Budget(
      [
        { limit: 9, costs },
        { limit: 1, costs: [undefined, [0, 1, 3]] },
      ],
      [[], []],
    );
    assert.equal(both.isWithin([0, 2]), false);
    assert.deepEqual(both.affordable(1, [0]), [true, true, false]);
  });

  it('bounds a choice by what the later ones need at least', () => {
    const bound = (limit: number) => new Budget([{ limit, costs }], [[], []]).affordable(0, []);
    assert.deepEqual(bound(3), [false, true, true]);
    assert.deepEqual(bound(1), [false, true, false]);
    assert.deepEqual(bound(0), [false, true, false], 'the cheapest where nothing is within');
  });

  it('tells how much is left, and how expensive a choice is', () => {
    const one = new Budget([{ limit: 10, costs }], [[], []]);
    assert.equal(one.slack(0, []), 0.9);
    assert.equal(one.slack(1, [0]), 0.5);
    assert.deepEqual([one.expense(0, 0), one.expense(0, 1)], [1, 0]);
    assert.ok(Math.abs(one.expense(0, 2) - 0.5) < 1e-12);
  });
});
