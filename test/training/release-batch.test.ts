import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fixNetwork } from '../../src/training/fixed-network.ts';
import type { CompressionError } from '../../src/errors.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import type { Model } from '../../src/onnx/model.ts';
import { Tensor } from '../../src/onnx/tensor.ts';
import { LABELS, taskLoss } from '../../src/training/losses/task-loss.ts';
import { buildTrainingGraph, type TrainingGraph } from '../../src/training/training-graph.ts';
import { TrainingState } from '../../src/training/training-state.ts';
import { randomTensor, runtime } from './helpers.ts';

const BATCH = 6;

/** A small convolutional net whose graph holds the sizes in `shapes`; without any, a Flatten that any batch goes through. */
function net(batch: number | string, shapes?: readonly (readonly number[])[], expand?: readonly number[]): Model {
  const b = new GraphBuilder('net');
  const x = b.input('x', 'float', [batch, 2, 4, 4]);
  const w = b.initializer(randomTensor('w', [3, 2, 3, 3], 1));
  const head = b.initializer(randomTensor('head.w', [5, 48], 2));
  let value = b.op('Relu', [b.op('Conv', [x, w], { attributes: { pads: [1, 1, 1, 1] } })]);
  if (expand !== undefined) value = b.op('Expand', [value, b.initializer(Tensor.int64('expand', expand))]);
  if (shapes === undefined) value = b.op('Flatten', [value]);
  for (const [index, shape] of (shapes ?? []).entries()) {
    value = b.op('Reshape', [value, b.initializer(Tensor.int64(`shape${index}`, shape))], { name: `reshape${index}` });
  }
  b.output(b.op('Gemm', [value, head], { attributes: { transB: 1 } }), 'scores', 'float', [batch, 5]);
  return b.model(17);
}

function trainingGraph(model: Model): TrainingGraph {
  return buildTrainingGraph(model, {
    batchSize: BATCH,
    loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
    optimizer: { name: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 },
    average: false,
    batchNormalization: 'train',
    decayExempt: [],
    accumulate: 1,
  });
}

/** Loss and new weights of one step, in the order of their names. */
async function oneStep(model: Model): Promise<number[][]> {
  const { step, state, loss } = trainingGraph(model);
  const values = new TrainingState(state);
  const images = randomTensor('x', [BATCH, 2, 4, 4], 9, 1).floats();
  const session = await runtime.createSession(step.model, { threads: 1 });
  try {
    const outputs = await session.run(
      {
        ...values.feedsOf(step),
        ...Object.fromEntries(
          step.scalars.map((name) => [name, { type: 'float', dims: [], data: Float32Array.of(0.1) }]),
        ),
        x: { type: 'float', dims: [BATCH, 2, 4, 4], data: images },
        [LABELS]: {
          type: 'int64',
          dims: [BATCH],
          data: BigInt64Array.from({ length: BATCH }, (_, i) => BigInt(i % 5)),
        },
      },
      [loss, ...step.writes.values()],
    );
    return [...outputs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { data }]) => Array.from<unknown, number>(data, Number));
  } finally {
    await session.release();
  }
}

describe('releaseBatch', () => {
  for (const [what, model] of Object.entries({
    'batch 1, one vector': () => net(1, [[1, 48]]),
    'batch 1, size left open': () => net(1, [[1, -1]]),
    'batch 1, size copied': () =>
      net(1, [
        [1, 0, -1],
        [1, 48],
      ]),
    'batch 4, two steps': () =>
      net(4, [
        [4, 12, 4],
        [4, -1],
      ]),
    'open batch, size 1 in the graph': () => net('batch', [[1, 48]]),
    'batch 4, Expand': () => net(4, undefined, [4, 3, 4, 4]),
    'batch 1, that is right as it is': () => net(1, [[-1, 48]]),
  })) {
    it(`trains as the graph with an open batch does: ${what}`, async () => {
      const original = model();
      assert.deepEqual(await oneStep(original), await oneStep(net('batch')));
      // The model itself stays what its users know.
      assert.deepEqual(original.graph.initializers.get('shape0'), model().graph.initializers.get('shape0'));
    });
  }

  it('gives a teacher the batch of its student', () => {
    const { types, scores } = fixNetwork(net(4, [[4, -1]]), { x: [BATCH, 2, 4, 4] });
    assert.deepEqual(types.shape(scores), [BATCH, 5]);
  });

  it('names the node where the size may be something else than the batch, and says what to do', () => {
    const cases: [Model, RegExp][] = [
      // Rows of channels: the batch has gone into another axis.
      [
        net(1, [
          [3, 16],
          [1, 48],
        ]),
        /reshape[01].*batches of 1.*dynamic_axes.*training\.batchSize to 1/s,
      ],
      [
        net(4, [
          [2, 96],
          [4, 48],
        ]),
        /reshape[01].*batches of 4.*training\.batchSize to 4/s,
      ],
    ];
    for (const [model, words] of cases) {
      assert.throws(
        () => trainingGraph(model),
        (error: CompressionError) => {
          assert.equal(error.code, 'MODEL_UNSUPPORTED');
          assert.match(error.message, words);
          return true;
        },
      );
    }
  });
});
