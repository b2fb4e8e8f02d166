import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import type { Model } from '../../src/onnx/model.ts';
import { verifyModel } from '../../src/onnx/verify/verify-model.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { taskLoss } from '../../src/training/losses/task-loss.ts';
import { optimizerScalars } from '../../src/training/optimizers/optimizers.ts';
import { parametersOf, selectParameters, separateVectors } from '../../src/training/parameters.ts';
import { StepRunner } from '../../src/training/step-runner.ts';
import { trainedValues } from '../../src/training/trained-values.ts';
import {
  buildTrainingGraph,
  type TrainingGraph,
  type TrainingGraphOptions,
} from '../../src/training/training-graph.ts';
import { exampleModel, perceptron, randomTensor, runtime } from './helpers.ts';

const SGD = { name: 'sgd', momentum: 0, nesterov: false, weightDecay: 0.5 } as const;

function graphOf(model: Model, changes: Partial<TrainingGraphOptions> = {}): TrainingGraph {
  return buildTrainingGraph(model, {
    batchSize: 8,
    loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
    optimizer: SGD,
    average: false,
    batchNormalization: 'train',
    decayExempt: [],
    accumulate: 1,
    ...changes,
  });
}

const parameterNames = (graph: TrainingGraph): string[] =>
  graph.state.filter(({ kind }) => kind === 'parameter').map(({ name }) => name);

/** Runs one step on noise and gives what became of the state. */
async function step(graph: TrainingGraph, averageDecay?: number): Promise<StepRunner['state']> {
  const settings = { scalars: optimizerScalars(SGD), accumulate: 1, averageDecay };
  const runner = await StepRunner.create(graph, settings, { runtime, threads: 1 });
  const x = randomTensor('x', [8, 4], 9, 1).toArray();
  const labels = { type: 'int64' as const, dims: [8], data: BigInt64Array.from([0, 1, 2, 0, 1, 2, 0, 1], BigInt) };
  await runner.run({ x, labels }, { updates: 0, batchInGroup: 0, learningRate: 0.1 });
  await runner.release();
  return runner.state;
}

describe('buildTrainingGraph', () => {
  it('makes a valid model of standard operators and leaves the given one alone', async () => {
    const model = await exampleModel();
    const bytes = encodeModel(model);
    const graph = graphOf(model);
    verifyModel(graph.step.model);
    assert.deepEqual(encodeModel(model), bytes);
    const domains = new Set(graph.step.model.graph.nodes.map(({ domain, opType }) => domain && `${domain} ${opType}`));
    assert.deepEqual([...domains].sort(), ['', 'com.microsoft FusedMatMul']);
  });

  it('trains what it is told to, and leaves frozen layers out of the backward pass', () => {
    assert.deepEqual(parameterNames(graphOf(perceptron(), { trainable: ['head'] })), ['w2', 'b2']);
    const frozen = graphOf(perceptron(), { frozen: ['w1', 'b1'] });
    assert.deepEqual(parameterNames(frozen), ['w2', 'b2']);
    assert.ok(frozen.step.model.graph.initializers.has('w1'));
    assert.throws(() => graphOf(perceptron(), { frozen: ['nothing*'] }), { code: 'RECIPE_NO_MATCH' });
    assert.throws(() => graphOf(perceptron(), { frozen: ['*'] }), { code: 'RECIPE_NO_MATCH' });
  });

  it('keeps the running statistics of frozen normalization', async () => {
    const statistics = (graph: TrainingGraph): number => graph.state.filter(({ kind }) => kind === 'statistic').length;
    assert.equal(statistics(graphOf(await exampleModel())), 18);
    assert.equal(statistics(graphOf(await exampleModel(), { batchNormalization: 'frozen' })), 0);
    assert.equal(statistics(graphOf(await exampleModel(), { trainable: ['fc.*'] })), 0);
  });

  it('takes the loss before a Softmax at the end: the same step with and without it', async () => {
    const withSoftmax = perceptron();
    const b = new GraphBuilder(withSoftmax.graph);
    const scores = withSoftmax.graph.outputs.pop()!.name;
    b.output(b.op('Softmax', [scores], { attributes: { axis: 1 } }), 'probabilities', 'float', ['batch', 3]);
    const [a, c] = [await step(graphOf(perceptron())), await step(graphOf(withSoftmax))];
    for (const name of ['w1', 'b1', 'w2', 'b2']) assert.deepEqual([...a.values(name)], [...c.values(name)]);
  });

  it('exempts biases from weight decay: they move by the gradient alone', async () => {
    const [all, exempt] = [
      await step(graphOf(perceptron())),
      await step(graphOf(perceptron(), { decayExempt: ['bias'] })),
    ];
    assert.deepEqual([...exempt.values('w1')], [...all.values('w1')]);
    const before = perceptron().graph.initializers.get('b1')!.floats();
    // lr 0.1 * decay 0.5 * bias, to rounding.
    exempt
      .values('b1')
      .forEach((value, i) => assert.ok(Math.abs(value - all.values('b1')[i]! - 0.05 * before[i]!) < 1e-6));
  });

  it('clips the gradients to the norm it is given', async () => {
    const before = perceptron().graph.initializers;
    const state = await step(graphOf(perceptron(), { clipNorm: 1e-3, optimizer: { ...SGD, weightDecay: 0 } }));
    let square = 0;
    for (const name of ['w1', 'b1', 'w2', 'b2']) {
      state.values(name).forEach((value, i) => (square += ((value - before.get(name)!.floats()[i]!) / 0.1) ** 2));
    }
    // The weights are about 1, so a difference of 1e-4 is known to 1e-3 of itself.
    assert.ok(Math.abs(Math.sqrt(square) - 1e-3) < 2e-5, `${Math.sqrt(square)}`);
  });

  it('averages the weights: a tenth of the way at the first step, whatever the decay', async () => {
    const state = await step(graphOf(perceptron(), { average: true }), 0.999);
    const before = perceptron().graph.initializers.get('w1')!.floats();
    const average = trainedValues(state).get('w1')!;
    // decay min(0.999, 1 / 10) after one step: nine tenths of the way.
    average.forEach((value, i) =>
      assert.ok(Math.abs(value - (before[i]! + 0.9 * (state.values('w1')[i]! - before[i]!))) < 1e-6),
    );
  });

  it('refuses a batch of one where normalization needs a variance', () => {
    const b = new GraphBuilder('norm');
    const x = b.input('x', 'float', ['n', 4]);
    const vector = (name: string): string => b.initializer(Tensor.float(name, [1, 1, 1, 1.5]));
    const y = b.op('BatchNormalization', [x, vector('scale'), vector('bias'), vector('mean'), vector('variance')]);
    b.output(y, 'y', 'float', ['n', 4]);
    assert.throws(() => graphOf(b.model(21), { batchSize: 1 }), { code: 'DATASET_TOO_SMALL' });
  });
});

describe('parameters', () => {
  it('gives each node its own vector, and keeps tied matrices tied', () => {
    const b = new GraphBuilder('shared');
    const x = b.input('x', 'float', [8, 4]);
    const [w, bias] = [b.initializer(randomTensor('w', [4, 4], 1)), b.initializer(Tensor.float('zeros', [0, 0, 0, 0]))];
    const hidden = b.op('Gemm', [x, w, bias]);
    b.output(b.op('Gemm', [hidden, w, bias]), 'y', 'float', [8, 4]);
    const model = b.model(21);
    assert.equal(separateVectors(model.graph), 1);
    assert.deepEqual(
      parametersOf(model).map(({ name }) => name),
      ['w', 'zeros', 'zeros_1'],
    );
    assert.equal(separateVectors(model.graph), 0);
  });

  it('resolves the Identity nodes that exporters write for equal vectors', async () => {
    const model = await exampleModel();
    assert.equal(separateVectors(model.graph), 2);
    assert.ok(!model.graph.nodes.some(({ opType }) => opType === 'Identity'));
    assert.equal(parametersOf(model).length, 9 + 18 + 2);
  });

  it('says so when there is nothing to train', () => {
    assert.throws(() => selectParameters([], {}), { code: 'RECIPE_NO_MATCH', message: /no float weights/ });
  });
});
