import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../../src/errors.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { quantizeWithin, type AutoSettings, type Trial } from '../../../src/passes/quantize/auto.ts';
import { layersByHarm } from '../../../src/passes/quantize/layers-by-harm.ts';
import { StaticOptions } from '../../../src/passes/quantize/static-options.ts';
import { quantizeStatically } from '../../../src/passes/quantize/static-run.ts';
import { quantizeStatic } from '../../../src/passes/quantize/static.ts';
import { quantizeDetailsOf } from '../../../src/schemas/quantize-report.ts';
import { net, apply, contextOf, source, weight } from './helpers.ts';
import { LABELLED_DIMS as DIMS, answersOf, labelledBy } from './labelled.ts';

function network(): Model {
  const pads = [1, 1, 1, 1];
  return net({
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { attributes: { pads }, name: 'conv1' }),
      makeNode('Relu', ['c1'], ['r1'], { name: 'relu1' }),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { attributes: { pads }, name: 'conv2' }),
      makeNode('Relu', ['c2'], ['r2'], { name: 'relu2' }),
      makeNode('Flatten', ['r2'], ['f'], { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w3', 'b3'], ['y'], { attributes: { transB: 1 }, name: 'head' }),
    ],
    tensors: [
      weight('w1', [8, 4, 3, 3], 1),
      weight('b1', [8], 2),
      weight('w2', [8, 8, 3, 3], 3),
      weight('w3', [6, 288], 4),
      weight('b3', [6], 5),
    ],
    inputs: { x: DIMS },
    outputs: { y: [1, 6] },
  });
}

interface Accuracy {
  readonly float: number;
  readonly met: boolean;
  readonly chosen: object;
  readonly trials: readonly Trial[];
}

describe('accuracy auto', () => {
  it('stops at the first trial that loses no more than allowed, with nothing added if that does', async () => {
    const { context } = await labelledBy(network());
    const { details } = await apply(
      quantizeStatic,
      network(),
      { accuracy: 'auto' },
      { ...context, constraints: { maxAccuracyDrop: 1 } },
    );
    const accuracy = details['accuracy'] as Accuracy;
    assert.equal(accuracy.float, 1);
    assert.deepEqual([accuracy.met, accuracy.trials.length, accuracy.chosen], [true, 1, {}]);
  });

  it('keeps the best it has seen where none is good enough, lists every trial, and warns', async () => {
    const { context, labels } = await labelledBy(network());
    const model = network();
    const options = { accuracy: 'auto', maxAccuracyDrop: 0, weights: 'int2', iterations: 100 };
    const { details, warnings } = await apply(quantizeStatic, model, options, context);
    const accuracy = details['accuracy'] as Accuracy;
    const [plain] = accuracy.trials;
    assert.deepEqual(plain?.added, {});
    const drops = accuracy.trials.map(({ drop }) => drop);
    const best = Math.min(...drops);
    assert.ok(best < drops[0]!, drops.join(' '));
    const found = (await answersOf(model)).filter((label, i) => label === labels[i]).length / labels.length;
    assert.ok(Math.abs(1 - found - best) < 1e-9);
    assert.deepEqual(accuracy.chosen, accuracy.trials[drops.indexOf(best)]?.added);
    const asJson = JSON.parse(JSON.stringify(details)) as Record<string, unknown>;
    const shown = quantizeDetailsOf({ pass: 'quantize.static', details: asJson })?.accuracy;
    assert.deepEqual(
      shown?.trials.map(({ added }) => added),
      accuracy.trials.map(({ added }) => added),
      'the page reads every trial',
    );
    assert.equal(accuracy.met, best === 0);
    if (best > 0) {
      // The ladder, and one layer of three given back: no more than half.
      assert.equal(accuracy.trials.length, 11);
      assert.equal(accuracy.trials.at(-1)?.added.floatLayers, 1);
      assert.ok(warnings.some((warning) => warning.includes('no repair keeps the accuracy')));
    }
  });

  it('gives layers back to float where no repair keeps the accuracy, as few as do, those first that do most harm', async () => {
    const { context } = await labelledBy(network());
    const model = network();
    const tried: string[] = [];
    // Quantizing spoils whatever layer of "harmful" is not in float; no repair helps.
    const spoiled = (harmful: readonly string[]): AutoSettings => ({
      maxDrop: 0,
      allows: ({ method, rounding }) => method === undefined && rounding === undefined,
      layersByHarm: () => Promise.resolve([['y'], ['c2'], ['c1'], ['c1'], ['c1'], ['c1'], ['c1'], ['c1']]),
      quantize: (candidate, added, inFloat) => {
        tried.push(`${Object.keys(added).length} ${[...inFloat].join('+')}`);
        for (const node of candidate.graph.nodes) {
          const weights = candidate.graph.initializers.get(node.inputs[1] ?? '');
          if (weights === undefined || !harmful.includes(node.outputs[0] ?? '') || inFloat.has(node.outputs[0] ?? ''))
            continue;
          const reversed = weights.floats().toReversed();
          candidate.graph.initializers.set(weights.name, Tensor.float(weights.name, reversed, weights.dims));
        }
        return Promise.resolve({ changes: 3, skipped: [], warnings: [], details: {} });
      },
    });
    const found = await quantizeWithin(model, spoiled(['y', 'c2', 'c1']), context);
    const accuracy = found.details['accuracy'] as Accuracy;
    // Three trials of the ladder, then one layer, two, four, and by halves back to three.
    assert.deepEqual(tried, ['0 ', '1 ', '2 ', '0 y', '0 y+c2', '0 y+c2+c1', '0 y+c2+c1']);
    assert.deepEqual([accuracy.met, accuracy.chosen], [true, { floatLayers: 3 }]);
    assert.equal(accuracy.trials.length, 7);
    const never = await quantizeWithin(
      network(),
      { ...spoiled(['y']), layersByHarm: () => Promise.resolve([]) },
      context,
    );
    assert.equal((never.details['accuracy'] as Accuracy).met, false);
    // Where layers cannot be told apart, what the repairs came to is the result all the same.
    const refusal = new CompressionError('PASS_PRECONDITION', 'outputs are compared by the first float output');
    const apart = { ...spoiled(['y']), layersByHarm: () => Promise.reject(refusal) };
    const kept = await quantizeWithin(network(), apart, context);
    assert.deepEqual(kept.skipped, [{ node: 'layers given back', reason: refusal.message }]);
    assert.equal((kept.details['accuracy'] as Accuracy).trials.length, 3);
  });

  it('orders layers by what quantizing them alone does, and leaves those in float that it is told to', async () => {
    const { context } = await labelledBy(network());
    const model = network();
    const head = model.graph.initializers.get('w3')!;
    // One weight of each row is so large that eight bits leave the others nothing.
    const wide = head.floats().map((value, i) => (i % 288 === 5 ? 3000 : value));
    model.graph.initializers.set('w3', Tensor.float('w3', wide, head.dims));
    const options = StaticOptions.parse({});
    const order = await layersByHarm(model, options, context);
    assert.deepEqual([order.length, order[0]], [3, ['y']]);
    const result = await quantizeStatically(model, { options, inFloat: new Set(['y']) }, context);
    assert.deepEqual(
      result.skipped.filter(({ reason }) => reason === 'given back to float for the accuracy').map(({ node }) => node),
      ['head'],
    );
    assert.ok(model.graph.initializers.get('w3')?.dataType === 'float');
    assert.ok(!model.graph.initializers.has('w2'));
  });

  it('leaves learned ranges out where an operator has no gradient, says so, and where scales are powers of two', async () => {
    const { context } = await labelledBy(network());
    const options = { accuracy: 'auto', maxAccuracyDrop: 0, weights: 'int2', iterations: 100 };
    const learnedIn = (trials: readonly Trial[]): boolean => trials.some(({ added }) => added.method === 'learned');
    const model = network();
    // An operator without a rule for its gradient, which changes next to nothing.
    const almost = { size: 1, alpha: 1e-9 };
    model.graph.nodes[1] = makeNode('Relu', ['c1'], ['r0'], { name: 'relu1' });
    model.graph.nodes.splice(2, 0, makeNode('LRN', ['r0'], ['r1'], { attributes: almost, name: 'lrn' }));
    const without = await apply(quantizeStatic, model, options, context);
    assert.ok(!learnedIn((without.details['accuracy'] as Accuracy).trials));
    const reasons = without.skipped.filter(({ node }) => node === 'learned ranges').map(({ reason }) => reason);
    assert.deepEqual([reasons.length, reasons[0]?.includes('LRN')], [1, true]);
    const shifted = await apply(quantizeStatic, network(), { ...options, powerOfTwoScales: true }, context);
    assert.ok(!learnedIn((shifted.details['accuracy'] as Accuracy).trials));
    assert.ok(shifted.skipped.every(({ node }) => node !== 'learned ranges'));
  });

  it('needs evaluation data', () => {
    const auto = quantizeStatic.options.parse({ accuracy: 'auto' });
    assert.deepEqual(quantizeStatic.needs(auto), ['calibration', 'evaluation']);
    assert.deepEqual(quantizeStatic.needs(quantizeStatic.options.parse({})), ['calibration']);
  });
});

describe('target int8-only', () => {
  it('lists what computes in float', async () => {
    const model = network();
    model.graph.nodes.splice(1, 1, makeNode('Elu', ['c1'], ['r1'], { name: 'elu' }));
    const calibrated = contextOf(source('x', DIMS), { targetCpu: 'int8-only' });
    const { details, warnings } = await apply(quantizeStatic, model, {}, calibrated);
    assert.deepEqual(details['floatNodes'], [{ node: 'elu', operator: 'Elu' }]);
    assert.ok(warnings.some((warning) => warning.includes('an integer accelerator cannot run: Elu')));
    const integers = await apply(quantizeStatic, network(), {}, calibrated);
    assert.equal(integers.details['floatNodes'], undefined);
  });
});
