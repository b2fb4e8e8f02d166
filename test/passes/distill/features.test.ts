import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { featuresOf, type Features } from '../../../src/passes/distill/features.ts';
import { fixNetwork } from '../../../src/training/fixed-network.ts';
import { pairMaps } from '../../../src/passes/distill/layer-pairs.ts';
import { ARCHITECTURES } from '../../../src/zoo/architectures.ts';

const BATCH = 2;

function features(name: string, options: Readonly<Record<string, unknown>> = {}): Features {
  const architecture = ARCHITECTURES.find((candidate) => candidate.name === name)!;
  const model = architecture.build(architecture.options.parse(options), { seed: 0, weights: 'zero' });
  const side = Number(options['inputSize'] ?? 32);
  return featuresOf(fixNetwork(model, { input: [BATCH, 3, side, side] }));
}

const shapes = ({ maps }: Features): string[] => maps.map(({ shape }) => shape.slice(1).join('x'));
const names = ({ maps }: Features): string[] => maps.map(({ value }) => value);

describe('featuresOf', () => {
  it('takes the ends of the stages of a residual network', () => {
    // He et al. 2016, table 6: 16, 32, 64 channels at 32, 16, 8 pixels.
    const found = features('resnet', { depth: 20 });
    assert.deepEqual(shapes(found), ['16x32x32', '32x16x16', '64x8x8']);
    assert.deepEqual(
      names(found),
      [1, 2, 3].map((stage) => `stage${stage}.block3.relu2_output`),
    );
    assert.deepEqual(found.vector?.shape, [BATCH, 64]);
    assert.deepEqual(found.scores.shape, [BATCH, 10]);
  });

  it('does not take a layer inside the block that follows, where that comes later at the same resolution', () => {
    // ResNet-50 reduces its channels at the old resolution before the convolution that halves it.
    const found = features('resnet', { depth: 50, inputSize: 64, stem: 'large' });
    assert.ok(shapes(found).includes('256x16x16'), shapes(found).join());
    assert.ok(!shapes(found).includes('128x16x16'), shapes(found).join());
  });

  it('takes a concatenation where the units of a stage end in one', () => {
    assert.deepEqual(shapes(features('squeezenet')).slice(0, 2), ['128x32x32', '256x16x16']);
    assert.ok(names(features('shufflenet-v2')).includes('stage1.block4.shuffle.merge_output'));
  });

  it('finds maps of every convolutional family, largest first, and no gates', () => {
    for (const { name } of ARCHITECTURES) {
      if (name === 'mlp' || name === 'vit') continue;
      const sizes = features(name).maps.map(({ shape }) => shape[2]!);
      assert.ok(sizes.length >= 3, name);
      assert.deepEqual(
        sizes,
        [...new Set(sizes)].sort((a, b) => b - a),
        name,
      );
      assert.ok(
        sizes.every((size) => size > 1),
        name,
      );
    }
  });

  it('gives a perceptron no maps, but the vector ahead of its last layer', () => {
    const found = features('mlp', { width: 24 });
    assert.deepEqual(found.maps, []);
    assert.deepEqual(found.vector?.shape, [BATCH, 24]);
  });
});

describe('pairMaps', () => {
  it('pairs maps of one resolution', () => {
    const pairs = pairMaps(features('resnet', { depth: 56 }), features('resnet', { depth: 8 }));
    assert.deepEqual(
      pairs.map(({ teacher, student }) => [teacher.value, student.value]),
      [1, 2, 3].map((stage) => [`stage${stage}.block9.relu2_output`, `stage${stage}.block1.relu2_output`]),
    );
  });

  it('pairs the last maps also where one network shrinks its maps further', () => {
    const pairs = pairMaps(features('resnet', { depth: 8 }), features('mobilenet-v2'));
    const last = pairs.at(-1)!;
    assert.deepEqual(last.teacher.shape.slice(2), [8, 8]);
    assert.deepEqual(last.student.shape.slice(2), [4, 4]);
    assert.equal(pairs.length, 4);
  });
});
