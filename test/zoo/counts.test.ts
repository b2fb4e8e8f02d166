import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import { countNetwork } from '../../src/zoo/counts.ts';

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

for (const [name, options, parameters, megaMacs] of LINES) {
  it(`${name} ${JSON.stringify(options)} has the published parameters and multiply-accumulates`, () => {
    const architecture = ARCHITECTURES.find((candidate) => candidate.name === name);
    assert.ok(architecture, `no architecture ${name}`);
    const counts = countNetwork(architecture.build(options, { seed: 0, weights: 'zero' }));
    assert.equal(counts.parameters, parameters);
    assert.equal((counts.macs / 1e6).toFixed(2), megaMacs.toFixed(2));
  });
}
