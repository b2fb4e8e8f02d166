import { z } from 'zod';
import { adderLayer } from '../adder2d.ts';
import { commonOptions, defineArchitecture, hasSmallStem, inputOf, stemOption, widthOption } from '../architecture.ts';
import { NetworkBuilder } from '../network-builder.ts';
import { residualNetwork } from './residual.ts';

const IMAGENET_STAGES: Readonly<Record<number, readonly number[]>> = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
};
const BOTTLENECK_FROM_DEPTH = 50;

const options = z
  .strictObject({
    ...commonOptions,
    depth: z
      .number()
      .int()
      .min(8)
      .max(110)
      .default(20)
      .describe('Weighted layers of the ResNet: 6n + 2 with three stages (8, 14, 20, 32 …), or 18, 34, 50 with four'),
    width: widthOption,
    head: z
      .enum(['conv-bn', 'linear'])
      .default('conv-bn')
      .describe('conv-bn: a 1x1 convolution with BatchNormalization, as the authors train it; linear: a dense layer'),
    stem: stemOption,
  })
  .refine(({ depth }) => blocksOf(depth) !== undefined, {
    path: ['depth'],
    error: 'must be 6n + 2 (8, 14, 20, 32 …), or 18, 34 or 50',
  });

function blocksOf(depth: number): readonly number[] | undefined {
  const blocks = (depth - 2) / 6;
  return IMAGENET_STAGES[depth] ?? (Number.isInteger(blocks) ? [blocks, blocks, blocks] : undefined);
}

export const addernet = defineArchitecture({
  name: 'addernet',
  description:
    'ResNets whose layers measure the L1 distance of patch and filter instead of multiplying; stem and head still multiply',
  papers: [
    {
      title: 'Chen et al., AdderNet: Do We Really Need Multiplications in Deep Learning?, CVPR 2020',
      url: 'https://arxiv.org/abs/1912.13200',
    },
  ],
  options,
  example: { depth: 8, classes: 10 },
  references: [
    { name: 'AdderNet ResNet-20', options: {} },
    { name: 'AdderNet ResNet-50, ImageNet', options: { depth: 50, head: 'linear', inputSize: 224, classes: 1000 } },
  ],
  build(given, weights) {
    const { depth, width, head, classes } = given;
    const blocks = blocksOf(depth) ?? [];
    const isFour = blocks.length === 4;
    const channels = blocks.map((_, stage) => Math.max(1, Math.round((isFour ? 64 : 16) * width * 2 ** stage)));
    const network = new NetworkBuilder(`addernet${depth}`, weights);
    const features = residualNetwork(network, inputOf(network, given), {
      blocks,
      channels,
      block: isFour && depth >= BOTTLENECK_FROM_DEPTH ? 'bottleneck' : 'basic',
      bottleneckWidth: 1,
      shortcut: 'projection',
      lastGamma: 1,
      layer: adderLayer,
      stemChannels: channels[0] ?? 1,
      isSmallStem: !isFour || hasSmallStem(given.stem, given),
    });
    const pooled = network.globalAveragePool('head.pool', features);
    if (head === 'linear') {
      return network.finish(network.linear('head.fc', network.flatten('head.flatten', pooled), { channels: classes }));
    }
    const logits = network.batchNorm('head.bn', network.conv('head.conv', pooled, { channels: classes, kernel: 1 }));
    return network.finish(network.flatten('head.flatten', logits));
  },
});
