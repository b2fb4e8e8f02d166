import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../src/errors.ts';
import type { Model } from '../../src/onnx/model.ts';
import { buildArchitecture, networkWithoutWeights } from '../../src/zoo/build-architecture.ts';
import { countNetwork } from '../../src/zoo/counts.ts';
import { STAGE_BLOCKS } from '../../src/zoo/families/staged-blocks.ts';

type Stage = Readonly<Record<string, unknown>>;

function network(stages: readonly Stage[], rest: Readonly<Record<string, unknown>> = {}): Model {
  return networkWithoutWeights({ architecture: 'staged', inputSize: 8, stemChannels: 8, classes: 4, stages, ...rest });
}

function operators(model: Model, prefix: string): string[] {
  return model.graph.nodes.filter(({ name }) => name.startsWith(prefix)).map(({ opType }) => opType);
}

function refuses(pointer: string): (error: unknown) => boolean {
  return (error) =>
    error instanceof CompressionError && error.code === 'RECIPE_INVALID' && error.places[0]?.pointer === pointer;
}

describe('staged', () => {
  it('is ResNet-8 with projections by default', () => {
    assert.deepEqual(
      countNetwork(networkWithoutWeights({ architecture: 'staged' })),
      countNetwork(networkWithoutWeights({ architecture: 'resnet', depth: 8 })),
    );
  });

  it('has the parameters and multiply-accumulates counted by hand', () => {
    const { parameters, macs } = countNetwork(
      network([
        { block: 'basic', channels: 8, groups: 2 },
        { block: 'inverted', channels: 12, kernel: 5, expansion: 3, stride: 2, squeezeExcite: true },
      ]),
    );
    // Normalization: 2 a channel. The map is 8x8 = 64 pixels up to the stride, 4x4 = 16 behind it.
    const byHand = {
      // 3x3, 3 -> 8
      stem: [216 + 16, 216 * 64],
      // 3x3, 8 -> 8 in 2 groups, twice: 8 * 4 * 9 = 288 each
      stage1: [2 * (288 + 16), 2 * 288 * 64],
      // 1x1, 8 -> 24 at 8x8; 5x5 depthwise to 4x4; 24 -> 6 -> 24 with biases at 1x1; 1x1, 24 -> 12 at 4x4
      stage2: [192 + 48 + (600 + 48) + (144 + 6 + 144 + 24) + (288 + 24), 192 * 64 + 600 * 16 + 144 + 144 + 288 * 16],
      // 12 -> 4 with bias
      head: [48 + 4, 48],
    };
    const sum = (place: 0 | 1): number => Object.values(byHand).reduce((total, pair) => total + (pair[place] ?? 0), 0);
    assert.equal(parameters, sum(0));
    assert.equal(macs, sum(1));
    assert.deepEqual([parameters, macs], [2410, 77_520]);
  });

  it('builds every kind of block at either stride, with every kernel', () => {
    for (const block of STAGE_BLOCKS) {
      for (const kernel of [3, 5, 7]) {
        for (const stride of block === 'skip' ? [1] : [1, 2]) {
          const model = network([{ block, blocks: 2, channels: 8, kernel, stride, squeezeExcite: true }]);
          const spatial = model.graph.nodes.filter(
            (node) =>
              node.name.startsWith('stage1.') && node.opType === 'Conv' && node.ints('kernel_shape')?.[0] === kernel,
          );
          assert.equal(spatial.length > 0, block !== 'skip', `${block} ${kernel} ${stride}`);
        }
      }
    }
  });

  it('adds what comes in where shape and channels stay, and projects it where they change', () => {
    const model = network([{ block: 'basic', blocks: 2, channels: 16, stride: 2 }]);
    assert.equal(operators(model, 'stage1.block1.shortcut').join(), 'Conv,BatchNormalization');
    assert.equal(operators(model, 'stage1.block2.shortcut').length, 0);
    const linear = network([{ block: 'inverted', blocks: 2, channels: 16 }]);
    assert.ok(!operators(linear, 'stage1.block1').includes('Add'));
    assert.equal(operators(linear, 'stage1.block2').at(-1), 'Add');
  });

  it('takes a stage of "skip" for nothing', () => {
    assert.deepEqual(
      countNetwork(network([{ block: 'skip', channels: 8 }, { channels: 8 }])).parameters,
      countNetwork(network([{ channels: 8 }])).parameters,
    );
  });

  it('rounds channels under a width to what groups and shuffle divide', () => {
    const channels = (stage: Stage): unknown => {
      const model = network([stage], { width: 0.3 });
      const last = model.graph.initializers.get('head.fc.weight');
      return last?.dims[1];
    };
    // 0.3 * 30 = 9, 0.3 * 16 = 4.8: to a multiple of 2, of 1
    assert.equal(channels({ block: 'shuffle', channels: 30 }), 10);
    assert.equal(channels({ block: 'separable', channels: 16 }), 5);
  });

  it('starts from other weights with another seed', () => {
    const weight = (seed: number) =>
      buildArchitecture({ architecture: 'staged' }, seed).graph.initializers.get('stem.conv.weight')?.floats();
    assert.deepEqual(weight(1), weight(1));
    assert.notDeepEqual(weight(1), weight(2));
  });

  it('refuses what cannot be, with the place', () => {
    assert.throws(() => network([{ channels: 8 }, { channels: 10, groups: 4 }]), refuses('/stages/1/groups'));
    assert.throws(() => network([{ block: 'shuffle', channels: 9 }]), refuses('/stages/0/channels'));
    assert.throws(() => network([{ block: 'skip', channels: 9 }]), refuses('/stages/0/block'));
    assert.throws(() => network([{ block: 'skip', channels: 8, stride: 2 }]), refuses('/stages/0/block'));
    assert.throws(() => network([{ kernel: 4 }]), refuses('/stages/0/kernel'));
    assert.throws(() => network([]), refuses('/stages'));
  });
});
