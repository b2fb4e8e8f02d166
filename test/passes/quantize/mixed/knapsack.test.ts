import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { paretoSet, solveKnapsack } from '../../../../src/passes/quantize/mixed/knapsack.ts';
import {
  hullPath,
  selectionOf,
  type LayerOptions,
  type Selection,
} from '../../../../src/passes/quantize/mixed/selection.ts';
import { noise } from '../helpers.ts';

/** Every selection there is. */
function* everything(layers: readonly LayerOptions[], options: readonly number[] = []): Generator<Selection> {
  const next = layers[options.length];
  if (next === undefined) yield selectionOf(layers, options);
  else for (const index of next.keys()) yield* everything(layers, [...options, index]);
}

// Whole numbers as losses: their sums are exact in any order, so that the least one is one number. Few of them: many ties.
const option = fc.record({ cost: fc.integer({ min: 0, max: 12 }), loss: fc.integer({ min: 0, max: 9 }) });
const network = fc.array(fc.array(option, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });

describe('solveKnapsack', () => {
  it('finds what trying everything finds', () => {
    fc.assert(
      fc.property(network, fc.integer({ min: 0, max: 60 }), (layers, budget) => {
        const within = [...everything(layers)].filter(({ cost }) => cost <= budget);
        const found = solveKnapsack(layers, budget);
        if (within.length === 0) {
          assert.equal(found, undefined);
          return;
        }
        assert.ok(found !== undefined && found.cost <= budget);
        assert.deepEqual(found, { ...selectionOf(layers, found.options), gap: 0 });
        assert.equal(found.loss, Math.min(...within.map(({ loss }) => loss)));
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  it('finds what trying everything finds, with real numbers as losses', () => {
    const real = fc.record({
      cost: fc.integer({ min: 0, max: 1000 }),
      loss: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    const layersOf = fc.array(fc.array(real, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(layersOf, fc.double({ min: 0, max: 1, noNaN: true }), (layers, share) => {
        const all = [...everything(layers)];
        const budget = Math.floor(share * Math.max(...all.map(({ cost }) => cost)));
        const least = Math.min(...all.filter(({ cost }) => cost <= budget).map(({ loss }) => loss));
        const found = solveKnapsack(layers, budget);
        // Sums of up to seven numbers below 1 in different orders: a few parts in 10^16.
        if (found === undefined) assert.equal(least, Infinity);
        else assert.ok(Math.abs(found.loss - least) <= 1e-12 * Math.max(least, 1e-3));
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  it('solves large networks, and never worse than the convex hull', () => {
    // 300 layers of 6 types: 6^300 selections. Costs like bytes of layers, losses falling with them.
    const sizes = noise(300, 5).map((value) => Math.round(2 ** (14 + 6 * value)));
    const factors = noise(1800, 6);
    const layers = [...sizes].map((size, layer) =>
      [2, 3, 4, 5, 6, 8].map((bits, at) => ({
        cost: Math.ceil((size * bits) / 8),
        loss: 4 ** -bits * (1.5 + factors[layer * 6 + at]!) ** 2,
      })),
    );
    const whole = layers.reduce((sum, options) => sum + options[5]!.cost, 0);
    for (const share of [0.3, 0.5, 0.75]) {
      const budget = Math.floor(share * whole);
      const found = solveKnapsack(layers, budget)!;
      const onHull = hullPath(layers)
        .filter(({ cost }) => cost <= budget)
        .at(-1)!;
      assert.ok(found.cost <= budget && found.loss <= onHull.loss);
    }
  });

  it('knows when nothing fits', () => {
    assert.equal(solveKnapsack([[{ cost: 3, loss: 0 }], [{ cost: 2, loss: 1 }]], 4), undefined);
    assert.deepEqual(solveKnapsack([[{ cost: 3, loss: 0 }], [{ cost: 2, loss: 1 }]], 5)?.options, [0, 0]);
  });
});

describe('paretoSet', () => {
  it('is what trying everything leaves', () => {
    fc.assert(
      fc.property(network, (layers) => {
        const all = [...everything(layers)];
        const best = all.filter(
          (a) => !all.some((b) => b.cost <= a.cost && b.loss <= a.loss && (b.cost < a.cost || b.loss < a.loss)),
        );
        const expected = [...new Map(best.map(({ cost, loss }) => [cost, loss]))].sort(([a], [b]) => a - b);
        const { points, isComplete } = paretoSet(layers);
        assert.ok(isComplete);
        assert.deepEqual(
          points.map(({ cost, loss }) => [cost, loss]),
          expected,
        );
        for (const point of points) assert.deepEqual(point, selectionOf(layers, point.options));
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it('holds every point of the hull path, from the cheapest to the best', () => {
    fc.assert(
      fc.property(network, (layers) => {
        const known = new Map(paretoSet(layers).points.map(({ cost, loss }) => [cost, loss]));
        const path = hullPath(layers);
        for (const { cost, loss } of path) assert.equal(known.get(cost), loss);
        for (const [at, { cost, loss }] of path.slice(1).entries()) {
          assert.ok(cost > path[at]!.cost && loss < path[at]!.loss);
        }
        assert.deepEqual([path[0]!.cost, path.at(-1)!.cost], [Math.min(...known.keys()), Math.max(...known.keys())]);
      }),
      { numRuns: 500, seed: 4 },
    );
  });
});
