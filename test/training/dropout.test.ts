import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import type { Model } from '../../src/onnx/model.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { DropoutFeeds } from '../../src/training/dropout.ts';
import { taskLoss } from '../../src/training/losses/task-loss.ts';
import { optimizerScalars } from '../../src/training/optimizers/optimizers.ts';
import { StepRunner } from '../../src/training/step-runner.ts';
import { buildTrainingGraph, type TrainingGraph } from '../../src/training/training-graph.ts';
import { perceptron, randomTensor, runtime } from './helpers.ts';

const SGD = { name: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 } as const;

describe('dropout masks', () => {
  const mask = { name: 'mask', shape: [100, 200], ratio: 0.3 };
  const drawn = (seed: number, batch: number): Float32Array =>
    Float32Array.from(
      new DropoutFeeds([mask, { ...mask, name: 'other' }], seed).of(batch)['mask']?.data as Float32Array,
    );

  it('drop their share and keep the mean', () => {
    const values = drawn(1, 0);
    const kept = Math.fround(1 / 0.7);
    assert.ok(values.every((value) => value === 0 || value === kept));
    // 20000 draws: one standard deviation of the share is 0.0032.
    const share = values.filter((value) => value === 0).length / values.length;
    assert.ok(Math.abs(share - 0.3) < 0.013, `dropped ${share}`);
  });

  it('depend on seed and batch alone', () => {
    const feeds = new DropoutFeeds([mask], 1);
    feeds.of(0);
    feeds.of(1);
    assert.deepEqual(feeds.of(5)['mask']?.data, drawn(1, 5));
    assert.notDeepEqual(drawn(1, 5), drawn(1, 6));
    assert.notDeepEqual(drawn(1, 5), drawn(2, 5));
  });
});

/** The perceptron with dropout behind its hidden layer. */
function withDropout(change: (node: ReturnType<typeof makeNode>) => void = () => undefined): Model {
  const model = perceptron();
  const b = new GraphBuilder(model.graph);
  const head = model.graph.nodes.find(({ name }) => name === 'head')!;
  const [hidden = ''] = head.inputs;
  const dropout = makeNode('Dropout', [hidden, b.float('ratio', 0.5)], ['dropped'], { name: 'dropout' });
  change(dropout);
  model.graph.nodes.splice(model.graph.nodes.indexOf(head), 0, dropout);
  head.inputs[0] = 'dropped';
  return model;
}

function graphOf(model: Model, seed = 3): TrainingGraph {
  return buildTrainingGraph(model, {
    batchSize: 8,
    loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
    optimizer: SGD,
    average: false,
    batchNormalization: 'train',
    decayExempt: [],
    accumulate: 1,
    seed,
  });
}

/** Steps `from` to `to` on the same batch, from a state. */
async function steps(
  graph: TrainingGraph,
  [from, to]: readonly [number, number],
  start?: ReadonlyMap<string, Float32Array>,
): Promise<{ state: Map<string, Float32Array>; losses: number[] }> {
  const settings = { scalars: optimizerScalars(SGD), accumulate: 1, averageDecay: undefined };
  const runner = await StepRunner.create(graph, settings, { runtime, threads: 1 });
  const x = randomTensor('x', [8, 4], 9, 1).toArray();
  const labels = { type: 'int64' as const, dims: [8], data: BigInt64Array.from([0, 1, 2, 0, 1, 2, 0, 1], BigInt) };
  for (const [name, values] of start ?? []) runner.state.load(name, values);
  const losses: number[] = [];
  for (let updates = from; updates < to; updates += 1) {
    losses.push((await runner.run({ x, labels }, { updates, batchInGroup: 0, learningRate: 0.1 })).loss);
  }
  await runner.release();
  return { state: runner.state.snapshot(), losses };
}

describe('training with dropout', () => {
  it('drops anew at each batch, the same in every run and after a resumption', async () => {
    const graph = graphOf(withDropout());
    assert.deepEqual(
      graph.dropout.masks.map(({ shape, ratio }) => ({ shape, ratio })),
      [{ shape: [8, 8], ratio: 0.5 }],
    );
    const whole = await steps(graph, [0, 4]);
    assert.deepEqual(await steps(graph, [0, 4]), whole);
    const half = await steps(graph, [0, 2]);
    assert.deepEqual((await steps(graph, [2, 4], half.state)).state, whole.state);
    assert.notDeepEqual((await steps(graphOf(withDropout(), 4), [0, 4])).state, whole.state);
    const without = await steps(graphOf(perceptron()), [0, 1]);
    assert.notEqual(whole.losses[0], without.losses[0]);
  });

  it('leaves alone what drops nothing, and a node whose own mask is read', async () => {
    const none = withDropout((node) => (node.inputs[1] = ''));
    assert.deepEqual(graphOf(none).dropout.masks[0]?.ratio, 0.5);
    const zero = withDropout();
    zero.graph.initializers.set('ratio', Tensor.float('ratio', [0], []));
    assert.deepEqual(graphOf(zero).dropout.masks, []);
    const read = withDropout((node) => node.outputs.push('kept'));
    read.graph.nodes.push(makeNode('Not', ['kept'], ['lost'], { name: 'reader' }));
    assert.deepEqual(graphOf(read).dropout.masks, []);
    const [loss] = (await steps(graphOf(read), [0, 1])).losses;
    assert.deepEqual([loss], (await steps(graphOf(perceptron()), [0, 1])).losses);
  });
});
