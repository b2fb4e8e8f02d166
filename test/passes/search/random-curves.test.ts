import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { conclude } from '../../../src/passes/search/conclude.ts';
import type { ObjectiveName } from '../../../src/passes/search/goals.ts';
import type { SearchRun } from '../../../src/passes/search/run-search.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { SearchSpace } from '../../../src/search/space.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { makeNode, model } from '../../evaluation/helpers.ts';
import { triedOf } from './tried.ts';

const net = model({
  nodes: [makeNode('Relu', ['x'], ['y'])],
  inputs: [tensorValue('x', 'float', [1, 4])],
  outputs: [tensorValue('y', 'float', [1, 4])],
});
const Details = z.object({
  random: z.object({
    curves: z.object({ search: z.array(z.number().nullable()), random: z.array(z.number().nullable()) }),
  }),
});

/** Candidates of these accuracies and MACs; beyond the limit where they have more than 8. */
const runOf = (objectives: readonly ObjectiveName[], figures: readonly (readonly [number, number])[]): SearchRun => ({
  cutShort: false,
  tried: figures.map(([accuracy, macs], index) =>
    triedOf(
      index,
      { accuracy, macs, metric: 'top1' },
      {
        objectives: objectives.map((name) => (name === 'accuracy' ? -accuracy : macs)),
        violation: macs > 8 ? 1 : 0,
      },
    ),
  ),
});

async function curvesOf(
  objectives: readonly ObjectiveName[],
  search: readonly (readonly [number, number])[],
  random: readonly (readonly [number, number])[],
): Promise<z.infer<typeof Details>['random']['curves']> {
  const { details } = await conclude({
    plan: {
      space: new SearchSpace([{ name: 'x', type: 'choice', values: [0, 1, 2, 3] }]),
      strategy: 'evolution',
      objectives,
      constraints: { maxMacs: 8 },
      trials: search.length,
      batch: 1,
      seed: 0,
      prepare: () => ({ figures: {}, reason: 'not asked' }),
    },
    run: runOf(objectives, search),
    random: runOf(objectives, random),
    keepFront: 0,
    trials: { run: () => Promise.resolve([]), models: () => Promise.resolve([net]), concluding: false },
    context: { data: {} } as unknown as PassContext,
  });
  return Details.parse(details).random.curves;
}

describe('a search beside random candidates', () => {
  it('has the best so far within the limits, as the figure itself', async () => {
    const curves = await curvesOf(
      ['accuracy'],
      [
        [0.99, 9],
        [0.7, 1],
        [0.6, 1],
        [0.8, 2],
      ],
      [[0.5, 1]],
    );
    assert.deepEqual(curves, { search: [null, 0.7, 0.7, 0.8], random: [0.5] });
    const small = await curvesOf(
      ['macs'],
      [
        [0.7, 4],
        [0.6, 3],
      ],
      [
        [0.5, 5],
        [0.5, 6],
      ],
    );
    assert.deepEqual(small, { search: [4, 3], random: [5, 5] });
  });

  it('has both hypervolumes on one scale', async () => {
    // Over both runs accuracy goes from 0.5 to 1 and MACs from 2 to 6; each is scaled to 0..1, the reference is 1.1.
    // (1, 6) is (0, 1): 1.1 * 0.1. (0.5, 2) is (1, 0): 0.1 * 1.1; both cover 0.1 * 0.1 twice.
    const { search, random } = await curvesOf(
      ['accuracy', 'macs'],
      [
        [1, 6],
        [0.5, 2],
      ],
      [[0.5, 6]],
    );
    const close = (value: number | null | undefined, expected: number): void => {
      assert.ok(Math.abs((value ?? Number.NaN) - expected) < 1e-12, `${value} is not ${expected}`);
    };
    close(search[0], 0.11);
    close(search[1], 0.21);
    close(random[0], 0.01);
  });
});
