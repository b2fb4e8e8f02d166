import { z } from 'zod';
import { commonOptions, defineArchitecture, hasSmallStem, inputOf, stemOption, widthOption } from '../architecture.ts';
import { NetworkBuilder } from '../network-builder.ts';
import { convLayer, residualNetwork, type ResidualPlan } from './residual.ts';

const IMAGENET_STAGES: Readonly<Record<number, readonly number[]>> = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
};
const BOTTLENECK_FROM_DEPTH = 50;

const options = z
  .strictObject({
    ...commonOptions,
    depth: z
      .number()
      .int()
      .min(8)
      .max(1202)
      .default(20)
      .describe('Weighted layers: 6n + 2 with three stages (8, 14, 20 … 110), or 18, 34, 50, 101, 152 with four'),
    stages: z
      .enum(['auto', 'three', 'four'])
      .default('auto')
      .describe(
        'three: 16, 32, 64 channels (CIFAR); four: 64 to 512 (ImageNet); auto: four for depths 18, 34, 50, 101, 152',
      ),
    width: widthOption,
    stemChannels: z
      .number()
      .int()
      .min(1)
      .max(4096)
      .nullable()
      .default(null)
      .describe('Default: those of the first stage'),
    shortcut: z
      .enum(['projection', 'pad'])
      .default('projection')
      .describe('Where the shape changes: projection by a 1x1 convolution (B), or subsampled with zero channels (A)'),
    bottleneckWidth: z
      .number()
      .min(0.1)
      .max(8)
      .default(1)
      .describe('Factor on the inner channels of bottlenecks; 2 is wide ResNet-50-2'),
    stem: stemOption,
    zeroInitResidual: z.boolean().default(false).describe('Start the last gamma of every block at 0'),
  })
  .refine(({ depth, stages }) => blocksOf(depth, stages) !== undefined, {
    path: ['depth'],
    error: 'must be 6n + 2 with three stages (8, 14, 20 … 110), or 18, 34, 50, 101 or 152 with four',
  });

/** Blocks by stage; undefined when there is no such network. */
function blocksOf(depth: number, stages: 'auto' | 'three' | 'four'): readonly number[] | undefined {
  const four = IMAGENET_STAGES[depth];
  if (stages === 'four' || (stages === 'auto' && four !== undefined)) return four;
  const blocks = (depth - 2) / 6;
  return Number.isInteger(blocks) ? [blocks, blocks, blocks] : undefined;
}

const imagenet = { inputSize: 224, classes: 1000 };
const pad = (depth: number) => ({ name: `ResNet-${depth}, padded shortcuts`, options: { depth, shortcut: 'pad' } });

export const resnet = defineArchitecture({
  name: 'resnet',
  description:
    'Residual networks: three stages for small images (depth 6n + 2), four for large ones (18, 34, 50, 101, 152)',
  papers: [
    {
      title: 'He et al., Deep Residual Learning for Image Recognition, CVPR 2016',
      url: 'https://arxiv.org/abs/1512.03385',
    },
    {
      title: 'Goyal et al., Accurate, Large Minibatch SGD (zero-init residual), 2017',
      url: 'https://arxiv.org/abs/1706.02677',
    },
  ],
  options,
  example: { depth: 20, shortcut: 'pad', classes: 10 },
  references: [
    ...[8, 14, 20, 32, 44, 56, 110].map(pad),
    ...[8, 20, 56, 110].map((depth) => ({ name: `ResNet-${depth}, projections`, options: { depth } })),
    { name: 'ResNet-8x4, 100 classes', options: { depth: 8, width: 4, stemChannels: 32, classes: 100 } },
    { name: 'ResNet-32x4, 100 classes', options: { depth: 32, width: 4, stemChannels: 32, classes: 100 } },
    { name: 'ResNet-18, 32 pixels, 100 classes', options: { depth: 18, classes: 100 } },
    ...[18, 34, 50].map((depth) => ({ name: `ResNet-${depth}, ImageNet`, options: { depth, ...imagenet } })),
    { name: 'Wide ResNet-50-2, ImageNet', options: { depth: 50, bottleneckWidth: 2, ...imagenet } },
  ],
  build(given, weights) {
    const { depth, stages, width, classes } = given;
    const blocks = blocksOf(depth, stages) ?? [];
    const isFour = blocks.length === 4;
    const base = isFour ? 64 : 16;
    const channels = blocks.map((_, stage) => Math.max(1, Math.round(base * width * 2 ** stage)));
    const plan: ResidualPlan = {
      blocks,
      channels,
      block: isFour && depth >= BOTTLENECK_FROM_DEPTH ? 'bottleneck' : 'basic',
      bottleneckWidth: given.bottleneckWidth,
      shortcut: given.shortcut,
      lastGamma: given.zeroInitResidual ? 0 : 1,
      layer: convLayer,
    };
    const network = new NetworkBuilder(`resnet${depth}`, weights);
    const features = residualNetwork(network, inputOf(network, given), {
      ...plan,
      stemChannels: given.stemChannels ?? channels[0] ?? base,
      // Three stages have their own stem, which halves nothing.
      isSmallStem: !isFour || hasSmallStem(given.stem, given),
    });
    const pooled = network.flatten('head.flatten', network.globalAveragePool('head.pool', features));
    return network.finish(network.linear('head.fc', pooled, { channels: classes }));
  },
});
