import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import { countNetwork, type NetworkCounts } from '../../src/zoo/counts.ts';

const imagenet = { inputSize: 224, classes: 1000 };
const hundred = { classes: 100 };
const pad = { shortcut: 'pad' };

type Line = readonly [name: string, options: Readonly<Record<string, unknown>>, parameters: number, megaMacs: number];

/**
 * Published counts. Parameters are those of torchvision (`num_params`), of chenyaofo's pytorch-cifar-models, and of a layer
 * calculator checked against both; MACs as printed there, in millions.
 */
const LINES: readonly Line[] = [
  ['resnet', { depth: 18, ...imagenet }, 11_689_512, 1814.07],
  ['resnet', { depth: 34, ...imagenet }, 21_797_672, 3663.76],
  ['resnet', { depth: 50, ...imagenet }, 25_557_032, 4089.18],
  // torchvision wide_resnet50_2
  ['resnet', { depth: 50, bottleneckWidth: 2, ...imagenet }, 68_883_240, 11398.02],
  ['densenet', { depth: 121, growthRate: 32, ...imagenet }, 7_978_856, 2834.16],
  ['squeezenet', { version: '1.0', ...imagenet }, 1_248_424, 818.92],
  ['squeezenet', { version: '1.1', ...imagenet }, 1_235_496, 349.15],
  ['mobilenet-v1', imagenet, 4_231_976, 568.74],
  ['mobilenet-v1', { width: 0.75, ...imagenet }, 2_585_560, 325.4],
  ['mobilenet-v1', { width: 0.5, ...imagenet }, 1_331_592, 149.5],
  ['mobilenet-v1', { width: 0.25, ...imagenet }, 470_072, 41.03],
  ['mobilenet-v3', { variant: 'large', ...imagenet }, 5_483_032, 216.59],
  ['mobilenet-v3', { variant: 'small', ...imagenet }, 2_542_856, 56.51],
  ['shufflenet-v2', { width: 0.5, ...imagenet }, 1_366_792, 40.48],
  ['shufflenet-v2', imagenet, 2_278_604, 144.91],
  ['shufflenet-v2', {}, 1_263_854, 45.0],
  ['shufflenet-v1', { groups: 3, ...imagenet }, 1_864_728, 137.46],
  ['shufflenet-v1', { groups: 3, width: 0.5, ...imagenet }, 717_324, 37.59],
  ['shufflenet-v1', { groups: 8, ...imagenet }, 2_433_768, 138.37],
  ['mobilenet-v2', imagenet, 3_504_872, 300.77],
  ['mobilenet-v2', { width: 0.35, ...imagenet }, 1_677_128, 59.29],
  ['mobilenet-v2', {}, 2_236_682, 87.98],
  ['resnet', { depth: 8, ...pad }, 75_290, 12.24],
  ['resnet', { depth: 14, ...pad }, 172_506, 26.4],
  ['resnet', { depth: 20, ...pad }, 269_722, 40.55],
  ['resnet', { depth: 32, ...pad }, 464_154, 68.86],
  ['resnet', { depth: 44, ...pad }, 658_586, 97.17],
  ['resnet', { depth: 56, ...pad }, 853_018, 125.49],
  ['resnet', { depth: 110, ...pad }, 1_727_962, 252.89],
  ['resnet', { depth: 8 }, 78_042, 12.5],
  ['resnet', { depth: 8, ...hundred }, 83_892, 12.51],
  ['resnet', { depth: 14 }, 175_258, 26.66],
  ['resnet', { depth: 14, ...hundred }, 181_108, 26.66],
  ['resnet', { depth: 20 }, 272_474, 40.81],
  ['resnet', { depth: 20, ...hundred }, 278_324, 40.82],
  ['resnet', { depth: 32 }, 466_906, 69.12],
  ['resnet', { depth: 32, ...hundred }, 472_756, 69.13],
  ['resnet', { depth: 56 }, 855_770, 125.75],
  ['resnet', { depth: 56, ...hundred }, 861_620, 125.75],
  ['resnet', { depth: 110 }, 1_730_714, 253.15],
  ['resnet', { depth: 110, ...hundred }, 1_736_564, 253.16],
  ['resnet', { depth: 8, width: 4, stemChannels: 32, ...hundred }, 1_233_540, 177.07],
  ['resnet', { depth: 32, width: 4, stemChannels: 32, ...hundred }, 7_433_860, 1083.04],
];

/** Parameters alone, where only they are published: torchvision, Zagoruyko's and pytorch-cifar-models' READMEs, timm. */
const PARAMETERS: readonly (readonly [string, Readonly<Record<string, unknown>>, number])[] = [
  ['wide-resnet', { depth: 28, width: 10 }, 36_479_194],
  ['wide-resnet', { depth: 40, width: 2, ...hundred }, 2_255_156],
  ['densenet', { depth: 100 }, 769_162],
  ['vgg', { depth: 16, batchNorm: false, headWidth: 4096, ...imagenet }, 138_357_544],
  ['vgg', { depth: 16, headWidth: 4096, ...imagenet }, 138_365_992],
  ['vgg', { depth: 11, headWidth: 4096, ...imagenet }, 132_868_840],
  ['vit', { patchSize: 16, width: 768, depth: 12, heads: 12, pool: 'token', ...imagenet }, 86_567_656],
  ['vit', { patchSize: 16, width: 192, depth: 12, heads: 3, pool: 'token', ...imagenet }, 5_717_416],
];

it('AdderNet ResNet-20 has the published parameters, and its operations apart', () => {
  const { parameters, multiplications, additions, adderOperations } = countsOf('addernet', { depth: 20 });
  assert.equal(parameters, 272_484);
  assert.equal(adderOperations, 40_370_176);
  assert.equal(((multiplications + adderOperations) / 1e6).toFixed(2), '40.81');
  assert.equal(additions, multiplications + 2 * adderOperations);
});

it('AdderNet ResNet-50 has the parameters and operations of ResNet-50', () => {
  const { parameters, multiplications, adderOperations } = countsOf('addernet', {
    depth: 50,
    head: 'linear',
    ...imagenet,
  });
  assert.equal(parameters, 25_557_032);
  assert.equal(((multiplications + adderOperations) / 1e6).toFixed(2), '4089.18');
});

for (const [name, options, parameters, megaMacs] of LINES) {
  it(`${name} ${JSON.stringify(options)} has the published parameters and multiply-accumulates`, () => {
    const counts = countsOf(name, options);
    assert.equal(counts.parameters, parameters);
    assert.equal((counts.macs / 1e6).toFixed(2), megaMacs.toFixed(2));
  });
}

for (const [name, options, parameters] of PARAMETERS) {
  it(`${name} ${JSON.stringify(options)} has the published parameters`, () => {
    assert.equal(countsOf(name, options).parameters, parameters);
  });
}

function countsOf(name: string, options: Readonly<Record<string, unknown>>): NetworkCounts {
  const architecture = ARCHITECTURES.find((candidate) => candidate.name === name);
  assert.ok(architecture, `no architecture ${name}`);
  return countNetwork(architecture.build(options, { seed: 0, weights: 'zero' }));
}
