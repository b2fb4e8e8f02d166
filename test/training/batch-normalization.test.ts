import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defined } from '../../src/errors.ts';
import { producersOf } from '../../src/onnx/graph.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { foldedIntoConvolution } from '../../src/training/batch-normalization.ts';
import { taskLoss } from '../../src/training/losses/task-loss.ts';
import { separateVectors } from '../../src/training/parameters.ts';
import { buildTrainingGraph } from '../../src/training/training-graph.ts';
import { exampleModel, randomTensor, runtime } from './helpers.ts';

const SGD = { name: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;

describe('frozen BatchNormalization', () => {
  for (const withBias of [false, true]) {
    it(`folded into a grouped, strided convolution ${withBias ? 'with' : 'without'} bias gives what ONNX Runtime gives apart`, async () => {
      const b = new GraphBuilder('case');
      const x = b.input('x', 'float', [2, 4, 7, 6]);
      const vector = (name: string, seed: number): string => b.initializer(randomTensor(name, [6], seed, 1));
      const weight = b.initializer(randomTensor('weight', [6, 2, 3, 3], 1));
      const inputs = withBias ? [x, weight, vector('bias', 2)] : [x, weight];
      const attributes = { strides: [2, 1], pads: [1, 0, 0, 1], group: 2 };
      const convolved = b.op('Conv', inputs, { attributes });
      const variance = b.initializer(Tensor.float('variance', [0.5, 1, 2, 0.1, 3, 1e-4]));
      const statistics = [vector('scale', 3), vector('shift', 4), vector('mean', 5), variance];
      const normalized = b.op('BatchNormalization', [convolved, ...statistics], {
        attributes: { epsilon: { float: 1e-3 } },
      });
      const node = defined(producersOf(b.graph).get(normalized), 'normalization');
      const folded = defined(foldedIntoConvolution(b, node, producersOf(b.graph)), 'folded');
      folded.outputs[0] = 'folded';
      b.graph.nodes.push(folded);
      const shape = [2, 6, 3, 5];
      b.output(normalized, 'apart', 'float', shape);
      b.output('folded', 'together', 'float', shape);
      const session = await runtime.createSession(b.model(21), { threads: 1, optimization: 'disabled' });
      const results = await session.run({ x: randomTensor('x', [2, 4, 7, 6], 6, 1).toArray() });
      await session.release();
      const apart = results.get('apart')?.data as Float32Array;
      const together = results.get('together')?.data as Float32Array;
      // Sums of 18 products of order 1, times slopes up to 30.
      apart.forEach((value, i) => assert.ok(Math.abs(value - (together[i] ?? NaN)) < 1e-4, `${i}: ${together[i]}`));
    });
  }

  it('leaves none in the training graph, except where what is before it is no convolution', async () => {
    const model = await exampleModel();
    separateVectors(model.graph);
    const graph = buildTrainingGraph(model, {
      batchSize: 4,
      loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
      optimizer: SGD,
      average: false,
      batchNormalization: 'frozen',
      decayExempt: [],
      accumulate: 1,
    });
    assert.ok(graph.step.model.graph.nodes.every(({ opType }) => opType !== 'BatchNormalization'));
    // Scales and shifts are trained all the same.
    assert.ok(graph.state.some(({ name }) => name.endsWith('bn.weight')));
    const b = new GraphBuilder('case');
    const names = ['s', 'b', 'm', 'v'].map((name) => b.initializer(randomTensor(name, [3], 1)));
    const alone = b.op('BatchNormalization', [b.input('x', 'float', [2, 3]), ...names]);
    const node = defined(producersOf(b.graph).get(alone), 'normalization');
    assert.equal(foldedIntoConvolution(b, node, producersOf(b.graph)), undefined);
  });
});
