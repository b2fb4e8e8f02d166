import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { quantizeMixed } from '../../../../src/passes/quantize/mixed/mixed.ts';
import { quantizeDetailsOf } from '../../../../src/schemas/quantize-report.ts';
import { makeNode } from '../../../../src/onnx/node.ts';
import { makeCostTable } from '../../../../src/passes/cost/kernel-cost-table.ts';
import { net, apply, weight } from '../helpers.ts';
import { labelOf, type Choice } from './helpers.ts';
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

const asJson = (details: object) => JSON.parse(JSON.stringify(details)) as Record<string, unknown>;

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
      const shown = quantizeDetailsOf({ pass: 'quantize.mixed', details: asJson(details) });
      assert.equal(shown?.accuracy?.trials.length, trials.length, 'the page reads every trial');
      assert.deepEqual(shown.accuracy.chosen, { givenBack: chosen });
      assert.equal(shown.pareto?.unit, 'bytes');
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

  it('makes the estimated time small, by the kernel cost table, where that is asked for', async () => {
    const { context } = await labelledBy(network());
    const candidates = ['float', { weights: 'int8' }, { weights: 'int4' }];
    /** What the layers behind the stem become when convolutions take so long in int8; in float 10 µs. */
    const chosen = async (convInt8Ns: number) => {
      const costTable = makeCostTable({
        cpuKind: 'test',
        runtimeVersion: 'test',
        threads: 1,
        entries: [
          { kernel: 'conv', shape: [8, 72, 36], work: 20_736, floatNs: 10_000, int8Ns: convInt8Ns },
          { kernel: 'matmul', shape: [6, 288, 1], work: 1728, floatNs: 1000, int8Ns: 100 },
          { kernel: 'boundary', shape: [144], work: 144, floatNs: 0, int8Ns: 500 },
        ],
      });
      const options = { candidates, maxAccuracyDrop: 0.99, minimize: 'latency' };
      const { details } = await apply(quantizeMixed, network(), options, { ...context, costTable });
      assert.equal((details['accuracy'] as Accuracy).trials.length, 1);
      const { unit, chosen: point } = details['pareto'] as { unit: string; chosen: { cost: number } };
      assert.equal(unit, 'latencyNs');
      const choices = (details['choices'] as Choice[]).slice(1);
      return { types: choices.map(labelOf), cost: point.cost };
    };
    const [quick, slow] = [await chosen(2000), await chosen(20_000)];
    assert.deepEqual(quick.types, ['int8/uint8', 'int8/uint8']);
    assert.deepEqual(slow.types, ['float', 'int8/uint8']);
    assert.ok(quick.cost < slow.cost && slow.cost >= 10_000);
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
