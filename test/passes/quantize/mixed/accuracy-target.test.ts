import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { quantizeMixed } from '../../../../src/passes/quantize/mixed/mixed.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { net, apply, weight } from '../helpers.ts';
import { LABELLED_DIMS as DIMS, answersOf, labelledBy } from '../labelled.ts';

const pads = [1, 1, 1, 1];

function network(): Model {
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1'], ['c1'], { attributes: { pads }, name: 'conv1' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { attributes: { pads }, name: 'conv2' }),
      makeNode('Relu', ['c2'], ['r2'], { name: 'relu2' }),
      makeNode('Flatten', ['r2'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [weight('w1', [8, 4, 3, 3], 1), weight('w2', [8, 8, 3, 3], 3), weight('w3', [6, 288], 4)],
    inputs: { x: DIMS },
    outputs: { y: [1, 6] },
  });
}

interface Trial {
  readonly givenBack: number;
  readonly drop: number;
  readonly met: boolean;
}

interface Accuracy {
  readonly drop: number;
  readonly met: boolean;
  readonly trials: readonly Trial[];
}

describe('maxAccuracyDrop', () => {
  it('gives back as few layers as keep the accuracy, and says what the result loses', async () => {
    const { context, labels } = await labelledBy(network());
    for (const maxAccuracyDrop of [0.05, 0.2, 0.5]) {
      const model = network();
      const { details, warnings } = await apply(quantizeMixed, model, { maxAccuracyDrop }, context);
      const { drop, met, trials } = details['accuracy'] as Accuracy;
      const kept = (await answersOf(model)).filter((answer, i) => answer === labels[i]).length;
      assert.ok(Math.abs(1 - kept / 60 - drop) < 1e-9);
      assert.equal(met, drop <= maxAccuracyDrop + 1e-12);
      assert.ok(met && !warnings.some((warning) => warning.includes('no choice keeps')));
      const chosen = Math.min(...trials.filter((trial) => trial.met).map(({ givenBack }) => givenBack));
      // The choice one step cheaper was tried, and lost too much.
      if (chosen > 0) assert.equal(trials.find(({ givenBack }) => givenBack === chosen - 1)?.met, false);
      assert.equal(new Set(trials.map(({ givenBack }) => givenBack)).size, trials.length);
    }
  });

  it('takes the cheapest types of all where they are good enough', async () => {
    const { context } = await labelledBy(network());
    // By bit operations: in bytes a layer of 288 weights is larger in int2, whose scales take a node more.
    const options = { maxAccuracyDrop: 0.99, minimize: 'bops' };
    const { details } = await apply(quantizeMixed, network(), options, context);
    assert.equal((details['accuracy'] as Accuracy).trials.length, 1);
    const choices = details['choices'] as { choice: { weights: string } }[];
    assert.ok(choices.every(({ choice }) => choice.weights === 'int2'));
  });

  it('keeps the best it has seen where nothing is good enough, and warns', async () => {
    const { context, labels } = await labelledBy(network());
    const model = network();
    const options = { maxAccuracyDrop: 0, candidates: [{ weights: 'int2' }, { weights: 'uint2' }] };
    const { details, warnings } = await apply(quantizeMixed, model, options, context);
    const { drop, met, trials } = details['accuracy'] as Accuracy;
    assert.equal(drop, Math.min(...trials.map((trial) => trial.drop)));
    assert.ok(!met && drop > 0);
    assert.ok(warnings.some((warning) => warning.includes('no choice keeps the accuracy within 0')));
    const kept = (await answersOf(model)).filter((answer, i) => answer === labels[i]).length;
    assert.ok(Math.abs(1 - kept / 60 - drop) < 1e-9);
  });

  it('gives the same bytes for the same request, and needs evaluation data and no budget', async () => {
    const { context } = await labelledBy(network());
    const models = [network(), network()];
    for (const model of models) await apply(quantizeMixed, model, { maxAccuracyDrop: 0.2, minimize: 'bops' }, context);
    assert.deepEqual(encodeModel(models[0]!), encodeModel(models[1]!));
    const options = quantizeMixed.options.parse({ maxAccuracyDrop: 0.01 });
    assert.deepEqual(quantizeMixed.needs(options), ['calibration', 'evaluation']);
    assert.ok(!quantizeMixed.options.safeParse({ maxAccuracyDrop: 0.01, budget: { averageBits: 4 } }).success);
  });
});
