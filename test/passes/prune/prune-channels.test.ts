import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../src/onnx/codec/encode.ts';
import { macsOf } from '../../../src/onnx/cost/macs.ts';
import type { Model } from '../../../src/onnx/model.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { countWeightElements } from '../../../src/onnx/print/summarize-model.ts';
import { Tensor } from '../../../src/onnx/tensor.ts';
import { runStep } from '../../../src/passes/pass-manager.ts';
import { pruneChannels } from '../../../src/passes/prune/channels/prune-channels.ts';
import { analyzeChannels } from '../../../src/passes/prune/groups/analyze-channels.ts';
import { channelGroups } from '../../../src/passes/prune/groups/channel-groups.ts';
import { channelScores, lamp, type WeightImportance } from '../../../src/passes/prune/importance/channel-scores.ts';
import { buildArchitecture } from '../../../src/zoo/build-architecture.ts';
import { contextOf, net, source } from '../quantize/helpers.ts';
import { noiseFeeds, run } from './helpers.ts';

interface Details {
  readonly macs: { readonly before: number; readonly after: number; readonly share: number };
  readonly parameters: { readonly before: number; readonly after: number; readonly share: number };
  readonly groups: readonly { readonly name: string; readonly of: number; readonly kept: number }[];
  readonly layers: readonly { readonly layer: string; readonly of: number; readonly kept: readonly number[] }[];
  readonly frozen: readonly { readonly layer: string; readonly reason: string }[];
}

const resnet8 = (seed = 1): Model => buildArchitecture({ architecture: 'resnet', depth: 8, shortcut: 'pad' }, seed);

async function prune(model: Model, options: object, seed = 0) {
  const step = { pass: pruneChannels, options: pruneChannels.options.parse(options) };
  const { details, ...result } = await runStep(model, step, contextOf(undefined, { seed }));
  return { ...result, details: details as unknown as Details };
}

/** x [1, 2] to three hidden features to y [1, 1]; the hidden rows and columns are given. */
function dense(rows: readonly number[], columns: readonly number[]): Model {
  return net({
    nodes: [
      makeNode('Gemm', ['x', 'w1', 'b1'], ['h'], { attributes: { transB: 1 }, name: 'first' }),
      makeNode('Gemm', ['h', 'w2'], ['y'], { attributes: { transB: 1 }, name: 'second' }),
    ],
    tensors: [
      Tensor.float('w1', rows, [rows.length / 2, 2]),
      Tensor.float('b1', Array(rows.length / 2).fill(100)),
      Tensor.float('w2', columns, [1, columns.length]),
    ],
    inputs: { x: [1, 2] },
    outputs: { y: [1, 1] },
  });
}

describe('channel scores', () => {
  const model = dense([1, 2, -3, 4, 0, 5], [2, -2, 1]);
  const { groups } = channelGroups(analyzeChannels(model));
  const scores = (importance: WeightImportance) =>
    Array.from(channelScores(model.graph, groups, { importance, seed: 1 })[0] ?? []);
  const byMean = (values: readonly number[]) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => value / mean);
  };

  it('l1 and l2 sum rows and columns, and leave biases out', () => {
    assert.deepEqual(scores('l1'), byMean([1 + 2 + 2, 3 + 4 + 2, 0 + 5 + 1]));
    assert.deepEqual(scores('l2'), byMean([1 + 4 + 4, 9 + 16 + 4, 0 + 25 + 1]));
  });

  it('fpgm sums the distances between filters', () => {
    const [ab, ac, bc] = [Math.hypot(4, 2), Math.hypot(1, 3), Math.hypot(3, 1)];
    assert.deepEqual(scores('fpgm'), byMean([ab + ac, ab + bc, ac + bc]));
  });

  it('lamp divides by the sum of all that are not smaller', () => {
    // The squares of w = [3, -1, 2, 0.5]; values of algorithm 1 of the paper for these weights, worked out by hand.
    const expected = [1, 1 / 14, 4 / 13, 0.25 / 14.25];
    lamp(Float64Array.of(9, 1, 4, 0.25)).forEach((score, index) => {
      assert.ok(Math.abs(score - (expected[index] ?? 0)) < 1e-12);
    });
  });

  it('bn-scale is |gamma| of the group', () => {
    const withNorm = resnet8();
    const found = channelGroups(analyzeChannels(withNorm)).groups;
    const gamma = withNorm.graph.initializers.get('stage1.block1.bn1.weight');
    assert.ok(gamma !== undefined);
    const values = Float32Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? -1 : 1) * (i + 1));
    withNorm.graph.initializers.set(gamma.name, Tensor.float(gamma.name, values));
    const inner = found.findIndex(({ members }) => members.some(({ value }) => value === gamma.name));
    const [own] = channelScores(withNorm.graph, found.slice(inner, inner + 1), { importance: 'bn-scale', seed: 0 });
    assert.deepEqual(
      Array.from(own ?? []),
      Array.from(values, (value) => Math.abs(value) / 8.5),
    );
  });
});

describe('prune.channels', () => {
  it('removes the channels of least weight, and keeps the others in order', async () => {
    const model = dense([1, 1, 9, 9, 2, 2, 8, 8], [1, 9, 2, 8]);
    const { details, changes } = await prune(model, { ratio: 0.5 });
    assert.equal(changes, 2);
    assert.deepEqual(details.layers, [{ layer: 'first', of: 4, kept: [1, 3] }]);
    assert.deepEqual(model.graph.initializers.get('w1')?.floats(), Float32Array.of(9, 9, 8, 8));
    assert.deepEqual(model.graph.initializers.get('w2')?.floats(), Float32Array.of(9, 8));
    assert.deepEqual(model.graph.initializers.get('b1')?.dims, [2]);
  });

  it('removes the channels that the calibration data use least', async () => {
    // The noise is below zero in its first place, so the ReLU lets it pass; magnitudes alone would choose otherwise.
    const model = dense([-4, 0, -1, 0, -3, 0, -2, 0], [1, 9, 1, 9]);
    model.graph.initializers.set('b1', Tensor.float('b1', [0, 0, 0, 0]));
    model.graph.nodes.splice(1, 0, makeNode('Relu', ['h'], ['r'], { name: 'relu' }));
    const last = model.graph.nodes[2];
    assert.ok(last !== undefined);
    last.inputs[0] = 'r';
    const step = {
      pass: pruneChannels,
      options: pruneChannels.options.parse({ ratio: 0.5, importance: 'activation' }),
    };
    const { details } = await runStep(model, step, contextOf(source('x', [1, 2])));
    assert.deepEqual((details as unknown as Details).layers, [{ layer: 'first', of: 4, kept: [0, 2] }]);
  });

  for (const scope of ['local', 'global', 'isomorphic']) {
    it(`meets a share of MACs closely, ${scope}, and reports what the file says`, async () => {
      const model = resnet8();
      const before = macsOf(model).total;
      const { details } = await prune(model, { macsRatio: 0.5, scope });
      assert.equal(details.macs.after, macsOf(model).total);
      assert.equal(details.parameters.after, countWeightElements(model));
      assert.equal(details.macs.before, before);
      // One channel of the widest early layer is some three percent of this little network.
      assert.ok(details.macs.share <= 0.5 && details.macs.share > 0.46, String(details.macs.share));
      for (const output of await run(model, noiseFeeds(model, 1, 2))) assert.equal(output.length, 20);
    });
  }

  it('meets a share of parameters', async () => {
    const { details } = await prune(resnet8(), { parametersRatio: 0.3, importance: 'lamp', scope: 'global' });
    assert.ok(details.parameters.share <= 0.3 && details.parameters.share > 0.27, String(details.parameters.share));
  });

  it('rounds kept channels, caps the share, and never empties a layer', async () => {
    const rounded = await prune(resnet8(), { ratio: 0.4, roundTo: 8, scope: 'local' });
    for (const { of, kept } of rounded.details.groups) assert.ok(kept % 8 === 0 && kept < of);
    const capped = await prune(resnet8(), { ratio: 0.9, maxRatio: 0.25, scope: 'global' });
    for (const { of, kept } of capped.details.groups) assert.equal(kept, of * 0.75);
    const most = await prune(resnet8(), { ratio: 0.99, maxRatio: 0.99, scope: 'global', importance: 'random' });
    for (const { kept } of most.details.groups) assert.ok(kept >= 1);
  });

  it('leaves excluded layers whole, and all but included ones', async () => {
    const without = await prune(resnet8(), { ratio: 0.5, exclude: ['stage1.*'] });
    assert.ok(without.details.layers.every(({ layer }) => !layer.startsWith('stage1.')));
    assert.ok(
      without.details.frozen.some(({ layer, reason }) => layer.includes('stem.conv') && reason.includes('excluded')),
    );
    const only = await prune(resnet8(), { ratio: 0.5, scope: 'local', include: ['stage*.block1.conv1'] });
    assert.deepEqual(
      only.details.layers.map(({ layer, of, kept }) => [layer, of, kept.length]),
      [
        ['stage1.block1.conv1', 16, 8],
        ['stage2.block1.conv1', 32, 16],
        ['stage3.block1.conv1', 64, 32],
      ],
    );
  });

  it('removes channels that a padded shortcut makes', async () => {
    const model = resnet8();
    await prune(model, { ratio: 0.5, importance: 'random', scope: 'local' });
    const pads = model.graph.nodes
      .filter(({ opType }) => opType === 'Pad')
      .map(({ inputs }) => model.graph.initializers.get(inputs[1] ?? '')?.integers() ?? []);
    assert.deepEqual(
      pads.map((amounts) => (amounts[1] ?? 0) + (amounts[5] ?? 0)),
      [8, 16],
    );
  });

  it('gives the same bytes for the same seed, other ones for another', async () => {
    const bytes = async (seed: number) => {
      const model = resnet8();
      await prune(model, { ratio: 0.5, importance: 'random' }, seed);
      return encodeModel(model);
    };
    const first = await bytes(1);
    assert.deepEqual(await bytes(1), first);
    assert.notDeepEqual(await bytes(2), first);
  });

  it('does not tie layers to each other that share equal vectors, and puts them back when nothing goes', async () => {
    const shared = (): Model => {
      const model = dense([1, 1, 9, 9, 2, 2, 8, 8], [1, 9, 2, 8]);
      model.graph.nodes.splice(1, 0, makeNode('Mul', ['h', 'b1'], ['h2'], { name: 'scale' }));
      const last = model.graph.nodes[2];
      assert.ok(last !== undefined);
      last.inputs[0] = 'h2';
      return model;
    };
    assert.equal((await prune(shared(), { ratio: 0.5 })).changes, 2);
    const whole = shared();
    const bytes = encodeModel(whole);
    assert.equal((await prune(whole, { ratio: 0.1 })).changes, 0);
    assert.deepEqual(encodeModel(whole), bytes);
  });

  describe('refuses', () => {
    it('a ratio of 1 and two targets at once', () => {
      for (const target of ['ratio', 'macsRatio']) {
        const [issue] = pruneChannels.options.safeParse({ [target]: 1 }).error?.issues ?? [];
        assert.match(issue?.message ?? '', /less than 1: of a ratio all channels would go/);
      }
      const both = pruneChannels.options.safeParse({ ratio: 0.5, macsRatio: 0.5 });
      assert.deepEqual(
        both.error?.issues.map(({ path }) => path),
        [['ratio'], ['macsRatio']],
      );
    });

    it('globs that match nothing, with the names there are', async () => {
      for (const option of ['include', 'exclude']) {
        await assert.rejects(prune(resnet8(), { [option]: ['layer9*'] }), {
          code: 'RECIPE_NO_MATCH',
          message: new RegExp(`${option} "layer9\\*" matches no node.*stage1\\.block1\\.conv1`, 's'),
        });
      }
    });

    it('filters that leave no channels, with the groups there are', async () => {
      for (const filter of [{ include: ['Relu'] }, { exclude: ['Conv', 'Gemm'] }]) {
        for (const target of [{ macsRatio: 0.5 }, { ratio: 0.5 }]) {
          await assert.rejects(prune(resnet8(), { ...filter, ...target }), {
            code: 'RECIPE_NO_MATCH',
            message: /include and exclude leave no channels to remove; .*stage1\.block1\.conv1/s,
          });
        }
      }
    });

    it('a share that cannot be reached, with the one that can', async () => {
      await assert.rejects(prune(resnet8(), { macsRatio: 0.01 }), {
        code: 'PASS_PRECONDITION',
        message: /macsRatio 0\.01 cannot be reached; the smallest share is 0\.0190.*stem\.conv/s,
      });
    });

    it('bn-scale without normalization', async () => {
      await assert.rejects(prune(dense([1, 2, 3, 4, 5, 6], [1, 2, 3]), { importance: 'bn-scale' }), {
        code: 'PASS_PRECONDITION',
        message: /bn-scale.*foldBatchNormalization/s,
      });
    });
  });
});
