import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import {
  commonOptions,
  defineArchitecture,
  dropoutOption,
  hasSmallStem,
  inputOf,
  stemOption,
  widthOption,
} from '../architecture.ts';
import { NetworkBuilder } from '../network-builder.ts';
import { STAGE_BLOCKS, stagedBlock, type StageBlock } from './staged-blocks.ts';

const channelCount = z.number().int().min(1).max(8192);

const Stage = z.strictObject({
  block: z
    .enum(STAGE_BLOCKS)
    .default('basic')
    .describe(
      'basic and bottleneck as in ResNet, inverted as in MobileNetV2 and V3, separable as in MobileNetV1, shuffle as in ShuffleNetV2, plain: one convolution; skip: none, where shape and channels stay',
    ),
  blocks: z.number().int().min(1).max(8).default(1).describe('The stride is that of the first one'),
  channels: channelCount.default(16).describe('Outputs of every block'),
  kernel: z
    .union([z.literal(3), z.literal(5), z.literal(7)])
    .default(3)
    .describe('Of the spatial convolutions'),
  expansion: z
    .number()
    .min(0.25)
    .max(8)
    .nullable()
    .default(null)
    .describe(
      'Inner channels: of basic and shuffle a multiple of their outputs (default 1), of inverted of its inputs (default 6), of bottleneck the outputs divided by it (default 4); separable and plain have none',
    ),
  groups: z
    .number()
    .int()
    .min(1)
    .max(256)
    .default(1)
    .describe('Of the spatial convolutions of basic, bottleneck and plain; those of the others are depthwise'),
  stride: z.union([z.literal(1), z.literal(2)]).default(1),
  squeezeExcite: z
    .boolean()
    .default(false)
    .describe(
      'Squeeze-and-excitation to a quarter of the channels: of inverted behind the depthwise convolution, else at the end of the branch',
    ),
});

const options = z.strictObject({
  ...commonOptions,
  width: widthOption.describe(
    'Factor on the channels of stem, stages and head, rounded to what groups and shuffle can divide',
  ),
  stem: stemOption.describe(
    'The first convolution, 3x3: with stride 2 (large) or 1 (small); auto: small up to 64 pixels',
  ),
  stemChannels: channelCount.default(16).describe('Outputs of the first convolution'),
  stages: z
    .array(Stage)
    .min(1)
    .max(16)
    .prefault([{ channels: 16 }, { channels: 32, stride: 2 }, { channels: 64, stride: 2 }])
    .describe('The network stage by stage'),
  headChannels: z
    .number()
    .int()
    .min(0)
    .max(8192)
    .default(0)
    .describe('Outputs of a 1x1 convolution ahead of the average; 0: there is none'),
  activation: z.enum(['relu', 'relu6', 'hardswish']).default('relu').describe('Of shuffle it is always relu'),
  uniform: z
    .boolean()
    .default(false)
    .describe(
      'The layers of a block do not depend on its numbers: the first block of a stage never adds what comes in as it is (basic and bottleneck project it), inverted always expands. For searches whose candidates share weights',
    ),
  dropout: dropoutOption,
});

/** A network described stage by stage: for searches, which can put a range in the place of each value. */
export const staged = defineArchitecture({
  name: 'staged',
  description:
    'Any chain of stages: kind of block, number, channels, kernel, expansion, groups, stride of each. Made for search',
  papers: [
    {
      title: 'Radosavovic et al., Designing Network Design Spaces, CVPR 2020',
      url: 'https://arxiv.org/abs/2003.13678',
    },
    {
      title: 'Cai et al., Once-for-All: Train One Network and Specialize it for Efficient Deployment, ICLR 2020',
      url: 'https://arxiv.org/abs/1908.09791',
    },
  ],
  options,
  example: {
    stages: [
      { block: 'basic', channels: 16 },
      { block: 'inverted', blocks: 2, channels: 24, kernel: 5, expansion: 3, stride: 2, squeezeExcite: true },
      { block: 'shuffle', blocks: 2, channels: 48, stride: 2 },
    ],
    classes: 10,
  },
  references: [
    { name: 'Staged, defaults', options: {} },
    {
      name: 'Staged, inverted residuals',
      options: {
        stemChannels: 16,
        stages: [
          { block: 'inverted', blocks: 2, channels: 24, expansion: 4 },
          { block: 'inverted', blocks: 3, channels: 40, kernel: 5, expansion: 4, stride: 2, squeezeExcite: true },
          { block: 'inverted', blocks: 3, channels: 80, expansion: 4, stride: 2 },
        ],
        headChannels: 320,
      },
    },
  ],
  build(given, weights) {
    const { width, stages, activation, classes, uniform } = given;
    const network = new NetworkBuilder('staged', weights);
    const stride = hasSmallStem(given.stem, given) ? 1 : 2;
    let x = network.conv('stem.conv', inputOf(network, given), {
      channels: scaled(given.stemChannels, width, 1),
      kernel: 3,
      stride,
    });
    x = network.activation('stem.act', network.batchNorm('stem.bn', x), activation);
    for (const [index, { blocks, expansion, ...stage }] of stages.entries()) {
      const channels = scaled(stage.channels, width, divisorOf(stage));
      for (let block = 0; block < blocks; block += 1) {
        x = stagedBlock(network, `stage${index + 1}.block${block + 1}`, x, {
          ...stage,
          channels,
          activation,
          stride: block === 0 ? stage.stride : 1,
          addsInput: !uniform || block > 0,
          alwaysExpands: uniform,
          ...(expansion === null ? {} : { expansion }),
          refuse: (option, problem) => refusal(index, option, problem),
        });
      }
    }
    if (given.headChannels > 0) {
      x = network.conv('head.conv', x, { channels: scaled(given.headChannels, width, 1), kernel: 1 });
      x = network.activation('head.act', network.batchNorm('head.bn', x), activation);
    }
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    x = network.dropout('head.dropout', x, given.dropout);
    return network.finish(network.linear('head.fc', x, { channels: classes }));
  },
});

/** What the number of channels has to be a multiple of. */
function divisorOf({ block, groups }: { readonly block: StageBlock; readonly groups: number }): number {
  if (block === 'shuffle') return 2;
  return block === 'basic' || block === 'plain' ? groups : 1;
}

/** Numbers that are given are taken as they are; those that come of a factor are rounded to fit. */
function scaled(channels: number, width: number, divisor: number): number {
  return width === 1 ? channels : divisor * Math.max(1, Math.round((channels * width) / divisor));
}

function refusal(stage: number, option: string, problem: string): CompressionError {
  const place = { pointer: `/stages/${stage}/${option}`, message: problem };
  return new CompressionError('RECIPE_INVALID', `stage ${stage + 1} of "staged": ${option} ${problem}`, {
    places: [place],
  });
}
