import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { taskLoss } from '../../../src/training/losses/task-loss.ts';
import { optimizerScalars } from '../../../src/training/optimizers/optimizers.ts';
import { parametersOf } from '../../../src/training/parameters.ts';
import { StepRunner } from '../../../src/training/step-runner.ts';
import { buildTrainingGraph } from '../../../src/training/training-graph.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { randomTensor, runtime } from '../helpers.ts';

const SGD = { name: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
const RATE = 0.5;
const BATCH = 4;

/** How far one update moves each parameter of a small AdderNet, as the root mean square of the change over the rate. */
async function movesOf(changes: { accumulate?: number; clipNorm?: number }): Promise<{
  readonly adder: readonly number[];
  readonly others: readonly number[];
  readonly norm: number | undefined;
}> {
  const model = buildArchitecture({ architecture: 'addernet', depth: 8, width: 0.25, inputSize: 8 }, 3);
  const accumulate = changes.accumulate ?? 1;
  const graph = buildTrainingGraph(model, {
    batchSize: BATCH,
    loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
    optimizer: SGD,
    average: false,
    batchNormalization: 'train',
    decayExempt: [],
    ...changes,
    accumulate,
  });
  const settings = { scalars: optimizerScalars(SGD), accumulate, averageDecay: undefined };
  const runner = await StepRunner.create(graph, settings, { runtime, threads: 1 });
  let norm: number | undefined;
  for (let batchInGroup = 0; batchInGroup < accumulate; batchInGroup += 1) {
    const input = randomTensor('x', [BATCH, 3, 8, 8], batchInGroup, 1).toArray();
    const labels = { type: 'int64' as const, dims: [BATCH], data: BigInt64Array.from([0, 3, 6, 9], BigInt) };
    const step = await runner.run({ input, labels }, { updates: 0, batchInGroup, learningRate: RATE });
    norm = step.gradientNorm;
  }
  await runner.release();
  const [adder, others]: [number[], number[]] = [[], []];
  for (const { name, isAdder } of parametersOf(model)) {
    const before = model.graph.initializers.get(name)?.floats() ?? new Float32Array();
    const after = runner.state.values(name);
    const square = before.reduce((sum, value, index) => sum + (value - (after[index] ?? NaN)) ** 2, 0);
    if (isAdder) adder.push(Math.sqrt(square / before.length) / RATE);
    else others.push(square / RATE ** 2);
  }
  return { adder, others, norm };
}

describe('the rate of adder layers', () => {
  for (const accumulate of [1, 2]) {
    it(`moves each filter by a fifth of the learning rate in root mean square, ${accumulate} batches an update`, async () => {
      const { adder } = await movesOf({ accumulate });
      // ResNet-8: two layers in each of three blocks, and two projections.
      assert.equal(adder.length, 8);
      for (const move of adder) assert.ok(Math.abs(move - 0.2) < 1e-5, `moved by ${move}`);
    });
  }

  it('is not touched by clipping, which bounds the gradients of the other parameters', async () => {
    const { adder, others, norm } = await movesOf({ clipNorm: 1e-3 });
    for (const move of adder) assert.ok(Math.abs(move - 0.2) < 1e-5, `moved by ${move}`);
    assert.ok(norm !== undefined && norm > 1e-2, `norm ${norm}`);
    const clipped = Math.sqrt(others.reduce((sum, square) => sum + square, 0));
    assert.ok(Math.abs(clipped - 1e-3) < 1e-5, `norm after clipping ${clipped}`);
  });
});
