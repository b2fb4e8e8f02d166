import { z } from 'zod';
import {
  commonOptions,
  defineArchitecture,
  depthOption,
  hasSmallStem,
  inputOf,
  scaledDepth,
  stemOption,
  widthOption,
} from '../architecture.ts';
import { NetworkBuilder } from '../network-builder.ts';
import { shuffleDownUnit, shuffleUnit } from './shuffle-unit.ts';

const BLOCKS = [4, 8, 4] as const;
const STEM_CHANNELS = 24;

/** Channels of the first stage (each stage doubles them) and of the last convolution: table 5 of the paper. */
const WIDTHS: ReadonlyMap<number, readonly [first: number, last: number]> = new Map([
  [0.5, [48, 1024]],
  [1, [116, 1024]],
  [1.5, [176, 1024]],
  [2, [244, 2048]],
]);

const options = z.strictObject({
  ...commonOptions,
  width: widthOption.describe('Factor on the channels of every stage; 0.5, 1, 1.5 and 2 are the networks of the paper'),
  depth: depthOption,
  stem: stemOption,
});

const imagenet = { inputSize: 224, classes: 1000 };

export const shuffleNetV2 = defineArchitecture({
  name: 'shufflenet-v2',
  description: 'Half of the channels pass through each unit untouched; a shuffle mixes the halves',
  papers: [
    {
      title: 'Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018',
      url: 'https://arxiv.org/abs/1807.11164',
    },
  ],
  options,
  example: { width: 0.5, classes: 10 },
  references: [
    { name: 'ShuffleNetV2, 32 pixels', options: {} },
    { name: 'ShuffleNetV2 0.5, ImageNet', options: { width: 0.5, ...imagenet } },
    { name: 'ShuffleNetV2 1.0, ImageNet', options: { width: 1, ...imagenet } },
  ],
  build(given, weights) {
    const { width, depth, classes } = given;
    const [first, last] = WIDTHS.get(width) ?? [2 * Math.max(1, Math.round(58 * width)), width > 1.5 ? 2048 : 1024];
    const isSmallStem = hasSmallStem(given.stem, given);
    const network = new NetworkBuilder('shufflenet_v2', weights);
    let x = inputOf(network, given);
    x = network.conv('stem.conv', x, { channels: STEM_CHANNELS, kernel: 3, stride: isSmallStem ? 1 : 2 });
    x = network.relu('stem.relu', network.batchNorm('stem.bn', x));
    if (!isSmallStem) x = network.maxPool('stem.pool', x, { kernel: 3, stride: 2, padding: 1 });
    for (const [stage, blocks] of BLOCKS.entries()) {
      const channels = first * 2 ** stage;
      for (let block = 0; block < scaledDepth(blocks, depth); block += 1) {
        const name = `stage${stage + 1}.block${block + 1}`;
        x = block === 0 ? shuffleDownUnit(network, name, x, { channels, stride: 2 }) : shuffleUnit(network, name, x);
      }
    }
    x = network.conv('head.conv', x, { channels: last, kernel: 1 });
    x = network.relu('head.relu', network.batchNorm('head.bn', x));
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    return network.finish(network.linear('head.fc', x, { channels: classes }));
  },
});
