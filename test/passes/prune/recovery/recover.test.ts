import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import { copyModel } from '../../../../src/training/copy-model.ts';
import { contextOf } from '../../quantize/helpers.ts';
import { noiseSource, repeatingNet, valuesOf } from './helpers.ts';

const net = () =>
  repeatingNet((b, weights, channels) => {
    const inner = b.op('Conv', [channels, b.initializer(weights.tensor('w2', [8, 8, 1, 1]))], { name: 'second' });
    return b.op('Conv', [b.op('Relu', [inner]), b.initializer(weights.tensor('w3', [3, 8, 1, 1]))], { name: 'third' });
  });

function squaredError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - (b[i] ?? NaN)) ** 2, 0) / a.length;
}

describe('prune.channels with recover', () => {
  it('comes nearer to the original by statistics, and nearer still by least squares', async () => {
    const original = net();
    const feeds = noiseSource(original, 64);
    const expected = await valuesOf(original, feeds);
    const errors: number[] = [];
    for (const recover of ['none', 'bn-statistics', 'least-squares']) {
      const model = copyModel(original);
      const options = pruneChannels.options.parse({ macsRatio: 0.5, recover });
      assert.deepEqual(pruneChannels.needs(options), recover === 'none' ? [] : ['calibration']);
      const { details } = await pruneChannels.run(model, options, contextOf(feeds));
      assert.equal('recovery' in details, recover !== 'none');
      errors.push(squaredError(expected, await valuesOf(model, feeds)));
    }
    const [none = NaN, statistics = NaN, leastSquares = NaN] = errors;
    assert.ok(statistics < 0.8 * none, `${statistics} of ${none}`);
    assert.ok(leastSquares < 0.5 * statistics, `${leastSquares} of ${statistics}`);
  });

  it('says that it needs calibration data', async () => {
    const options = pruneChannels.options.parse({ macsRatio: 0.5, recover: 'least-squares' });
    await assert.rejects(pruneChannels.run(net(), options, contextOf()), {
      code: 'PASS_PRECONDITION',
      message: /data\.calibration/,
    });
  });
});
