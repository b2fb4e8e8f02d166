import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { tensorValue } from '../../../../src/onnx/value-type.ts';
import { verifyModel } from '../../../../src/onnx/verify/verify-model.ts';
import { scheduleRecipe } from '../../../../src/passes/pass-manager.ts';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { contextOf, operators } from '../../quantize/helpers.ts';
import { noiseSource, valuesOf, Weights } from '../recovery/helpers.ts';

const CHANNELS = 8;
const PIXELS = 36;
const bnScale = { importance: 'bn-scale', ratio: 0.5 };

/** Two convolutions with biases, as exporters leave them. */
function foldedNet(): Model {
  const b = new GraphBuilder('folded');
  const weights = new Weights();
  const tensor = (name: string, ...dims: number[]): string => b.initializer(weights.tensor(name, dims));
  const x = b.input('x', 'float', ['batch', 3, 6, 6]);
  const first = b.op('Conv', [x, tensor('w1', CHANNELS, 3, 1, 1), tensor('b1', CHANNELS)], { name: 'first' });
  const second = [b.op('Relu', [first]), tensor('w2', 4, CHANNELS, 1, 1), tensor('b2', 4)];
  b.output(b.op('Conv', second, { name: 'second' }), 'y', 'float', ['batch', 4, 6, 6]);
  return b.model(17);
}

/** Of each channel of the first convolution, over all samples. */
async function deviations(model: Model, feeds: ReturnType<typeof noiseSource>): Promise<number[]> {
  const probe = copyModel(model);
  const value = probe.graph.nodes[0]!.outputs[0]!;
  probe.graph.outputs = [tensorValue(value, 'float', [null, CHANNELS, 6, 6])];
  const values = await valuesOf(probe, feeds);
  return Array.from({ length: CHANNELS }, (_, channel) => {
    const own = values.filter((_, i) => Math.floor(i / PIXELS) % CHANNELS === channel);
    const mean = own.reduce((sum, one) => sum + one, 0) / own.length;
    return Math.sqrt(own.reduce((sum, one) => sum + (one - mean) ** 2, 0) / own.length);
  });
}

describe('prune.channels with restoreBatchNormalization', () => {
  it('ranks by the deviation of the outputs, where bn-scale has nothing to go by without', async () => {
    const model = foldedNet();
    // The last batch is smaller: it must not weigh as much as the others.
    const feeds = noiseSource(model, 36);
    const measured = await deviations(model, feeds);
    const bare = pruneChannels.run(copyModel(model), pruneChannels.options.parse(bnScale), contextOf(feeds));
    await assert.rejects(bare, { code: 'PASS_PRECONDITION', message: /set restoreBatchNormalization/ });
    const options = pruneChannels.options.parse({ ...bnScale, restoreBatchNormalization: true });
    assert.deepEqual(pruneChannels.needs(options), ['calibration']);
    const { details, changes } = await pruneChannels.run(model, options, contextOf(feeds));
    verifyModel(model);
    assert.equal(details['restoredBatchNormalizations'], 2);
    assert.equal(changes, 2 + CHANNELS / 2);
    assert.equal(operators(model)['BatchNormalization'], 2);
    const [first] = details['layers'] as readonly { layer: string; kept: readonly number[] }[];
    const largest = [...measured.keys()].sort((a, b) => measured[b]! - measured[a]!).slice(0, CHANNELS / 2);
    assert.deepEqual(
      [...first!.kept],
      largest.sort((a, b) => a - b),
    );
    const scales = model.graph.initializers.get(model.graph.nodes[1]!.inputs[1]!)!.floats();
    first!.kept.forEach((channel, at) => assert.ok(Math.abs(scales[at]! / measured[channel]! - 1) < 1e-3));
  });

  it('leaves the function as it is where nothing can go', async () => {
    const model = foldedNet();
    const feeds = noiseSource(model, 16);
    const before = await valuesOf(model, feeds);
    const options = pruneChannels.options.parse({ ratio: 0.01, restoreBatchNormalization: true });
    const { changes } = await pruneChannels.run(model, options, contextOf(feeds));
    assert.equal(changes, 2);
    const after = await valuesOf(model, feeds);
    after.forEach((value, i) => assert.ok(Math.abs(value - before[i]!) < 1e-5 * Math.max(1, Math.abs(value))));
  });

  it('says that it needs calibration data', async () => {
    const options = pruneChannels.options.parse({ ratio: 0.5, restoreBatchNormalization: true });
    await assert.rejects(pruneChannels.run(foldedNet(), options, contextOf()), {
      code: 'PASS_PRECONDITION',
      message: /data\.calibration/,
    });
  });

  it('is folded again for the steps behind it', () => {
    const prune = { pass: 'prune.channels', restoreBatchNormalization: true };
    const plan = scheduleRecipe({ version: 1, steps: [prune, { pass: 'quantize.static' }] });
    assert.deepEqual(
      plan.map(({ pass, options }) => [pass.name, (options as Record<string, unknown>)['foldBatchNormalization']]),
      [
        ['canonicalize', false],
        ['prune.channels', undefined],
        ['canonicalize', true],
        ['quantize.static', undefined],
      ],
    );
  });
});
