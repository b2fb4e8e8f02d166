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
import { NetworkBuilder, type Feature } from '../network-builder.ts';
import { channelShuffle } from './channel-shuffle.ts';

const BLOCKS = [4, 8, 4] as const;
const STEM_CHANNELS = 24;
/** Inner channels of a unit: a quarter of its output. */
const BOTTLENECK = 4;

/** Channels of the first stage by number of groups, for equal cost (each stage doubles them): table 1 of the paper. */
const FIRST_CHANNELS = { 1: 144, 2: 200, 3: 240, 4: 272, 8: 384 } as const;

const options = z.strictObject({
  ...commonOptions,
  groups: z
    .union([z.literal(1), z.literal(2), z.literal(3), z.literal(4), z.literal(8)])
    .default(3)
    .describe('Groups of the 1x1 convolutions; more groups carry more channels at the same cost'),
  width: widthOption,
  depth: depthOption,
  stem: stemOption,
});

const imagenet = { inputSize: 224, classes: 1000 };

export const shuffleNetV1 = defineArchitecture({
  name: 'shufflenet-v1',
  description: 'Grouped 1x1 convolutions with a channel shuffle between them',
  papers: [
    {
      title:
        'Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, CVPR 2018',
      url: 'https://arxiv.org/abs/1707.01083',
    },
  ],
  options,
  example: { groups: 3, width: 0.5, classes: 10 },
  references: [
    { name: 'ShuffleNetV1 g3, 32 pixels', options: {} },
    { name: 'ShuffleNetV1 1.0 g3, ImageNet', options: { groups: 3, ...imagenet } },
    { name: 'ShuffleNetV1 0.5 g3, ImageNet', options: { groups: 3, width: 0.5, ...imagenet } },
    { name: 'ShuffleNetV1 1.0 g8, ImageNet', options: { groups: 8, ...imagenet } },
  ],
  build(given, weights) {
    const { groups, width, depth, classes } = given;
    const isSmallStem = hasSmallStem(given.stem, given);
    const network = new NetworkBuilder(`shufflenet_v1_g${groups}`, weights);
    // Whole groups everywhere: in the stem, and in the inner channels of a unit.
    const stemChannels = groups * Math.max(1, Math.ceil((STEM_CHANNELS * width) / groups));
    const unitChannels = BOTTLENECK * groups;
    const first = unitChannels * Math.max(1, Math.round((FIRST_CHANNELS[groups] * width) / unitChannels));
    let x = inputOf(network, given);
    x = network.conv('stem.conv', x, { channels: stemChannels, kernel: 3, stride: isSmallStem ? 1 : 2 });
    x = network.relu('stem.relu', network.batchNorm('stem.bn', x));
    if (!isSmallStem) x = network.maxPool('stem.pool', x, { kernel: 3, stride: 2, padding: 1 });
    for (const [stage, blocks] of BLOCKS.entries()) {
      for (let block = 0; block < scaledDepth(blocks, depth); block += 1) {
        x = unit(network, `stage${stage + 1}.block${block + 1}`, x, {
          channels: first * 2 ** stage,
          groups,
          // The stem has too few channels to be worth grouping.
          firstGroups: stage === 0 && block === 0 ? 1 : groups,
          isFirst: block === 0,
        });
      }
    }
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    const initialization = { kind: 'normal', std: 0.01 } as const;
    return network.finish(network.linear('head.fc', x, { channels: classes, initialization, bias: null }));
  },
});

interface UnitShape {
  readonly channels: number;
  readonly groups: number;
  readonly firstGroups: number;
  readonly isFirst: boolean;
}

function unit(network: NetworkBuilder, name: string, x: Feature, shape: UnitShape): Feature {
  const { channels, groups, firstGroups, isFirst } = shape;
  const inner = channels / BOTTLENECK;
  const stride = isFirst ? 2 : 1;
  let y = network.conv(`${name}.conv1`, x, { channels: inner, kernel: 1, groups: firstGroups });
  y = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, y));
  if (groups > 1) y = channelShuffle(network, `${name}.shuffle`, y, groups);
  y = network.conv(`${name}.depthwise.conv`, y, { channels: inner, kernel: 3, stride, groups: inner });
  y = network.batchNorm(`${name}.depthwise.bn`, y);
  y = network.conv(`${name}.conv2`, y, { channels: isFirst ? channels - x.channels : channels, kernel: 1, groups });
  y = network.batchNorm(`${name}.bn2`, y);
  if (!isFirst) return network.relu(`${name}.relu2`, network.add(`${name}.add`, x, y));
  const pooled = network.averagePool(`${name}.pool`, x, { kernel: 3, stride: 2, padding: 1 });
  return network.concat(`${name}.concat`, [pooled, network.relu(`${name}.relu2`, y)]);
}
