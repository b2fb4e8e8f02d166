import { z } from 'zod';
import {
  commonOptions,
  defineArchitecture,
  dropoutOption,
  hasSmallStem,
  inputOf,
  stemOption,
} from '../architecture.ts';
import { heFanIn, NetworkBuilder, ZERO, type Feature } from '../network-builder.ts';

const IMAGENET_BLOCKS: Readonly<Record<number, readonly number[]>> = {
  121: [6, 12, 24, 16],
  169: [6, 12, 32, 32],
  201: [6, 12, 48, 32],
};
/** Channels of a bottleneck, in growth rates. */
const BOTTLENECK_RATES = 4;

const options = z
  .strictObject({
    ...commonOptions,
    depth: z
      .number()
      .int()
      .min(10)
      .max(250)
      .default(40)
      .describe('Weighted layers: 121, 169, 201 with four blocks, else three blocks: 3n + 4, with bottlenecks 6n + 4'),
    growthRate: z
      .number()
      .int()
      .min(1)
      .max(256)
      .default(12)
      .describe('Channels each layer adds; the width of a DenseNet'),
    bottleneck: z
      .boolean()
      .default(true)
      .describe('A 1x1 convolution to four growth rates ahead of every 3x3 one; always so with four blocks'),
    compression: z.number().min(0.1).max(1).default(0.5).describe('Share of channels a transition keeps'),
    stem: stemOption,
    dropout: dropoutOption,
  })
  .refine(({ depth, bottleneck }) => layersOf(depth, bottleneck) !== undefined, {
    path: ['depth'],
    error: 'must be 121, 169 or 201, or 6n + 4 with bottlenecks (40, 100, 190), or 3n + 4 without',
  });

/** Dense layers by block; undefined when there is no such network. */
function layersOf(depth: number, bottleneck: boolean): readonly number[] | undefined {
  const four = IMAGENET_BLOCKS[depth];
  if (four !== undefined) return four;
  const layers = (depth - 4) / (bottleneck ? 6 : 3);
  return Number.isInteger(layers) ? [layers, layers, layers] : undefined;
}

const imagenet = { growthRate: 32, inputSize: 224, classes: 1000 };

export const densenet = defineArchitecture({
  name: 'densenet',
  description: 'Densely connected networks: each layer sees all feature maps before it in its block',
  papers: [
    {
      title: 'Huang et al., Densely Connected Convolutional Networks, CVPR 2017',
      url: 'https://arxiv.org/abs/1608.06993',
    },
  ],
  options,
  example: { depth: 40, growthRate: 12, classes: 10 },
  references: [
    { name: 'DenseNet-BC-40, k = 12', options: {} },
    { name: 'DenseNet-BC-100, k = 12', options: { depth: 100 } },
    { name: 'DenseNet-121, ImageNet', options: { depth: 121, ...imagenet } },
  ],
  build(given, weights) {
    const { depth, growthRate, compression, classes } = given;
    const blocks = layersOf(depth, given.bottleneck) ?? [];
    const isFour = blocks.length === 4;
    const bottleneck = isFour || given.bottleneck;
    const isSmallStem = !isFour || hasSmallStem(given.stem, given);
    const network = new NetworkBuilder(`densenet${depth}`, weights);
    let x = inputOf(network, given);
    const channels = bottleneck ? 2 * growthRate : 16;
    x = conv(network, 'stem.conv', x, { channels, kernel: isSmallStem ? 3 : 7, stride: isSmallStem ? 1 : 2 });
    if (isFour) x = network.relu('stem.relu', network.batchNorm('stem.bn', x));
    if (!isSmallStem) x = network.maxPool('stem.pool', x, { kernel: 3, stride: 2, padding: 1 });
    for (const [block, layers] of blocks.entries()) {
      for (let layer = 0; layer < layers; layer += 1) {
        x = denseLayer(network, `stage${block + 1}.layer${layer + 1}`, x, { growthRate, bottleneck });
      }
      if (block < blocks.length - 1) x = transition(network, `stage${block + 1}.transition`, x, compression);
    }
    x = network.relu('head.relu', network.batchNorm('head.bn', x));
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    x = network.dropout('head.dropout', x, given.dropout);
    return network.finish(network.linear('head.fc', x, { channels: classes, bias: ZERO }));
  },
});

function denseLayer(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  { growthRate, bottleneck }: { readonly growthRate: number; readonly bottleneck: boolean },
): Feature {
  let y = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, x));
  if (bottleneck) {
    y = conv(network, `${name}.conv1`, y, { channels: BOTTLENECK_RATES * growthRate, kernel: 1 });
    y = network.relu(`${name}.relu2`, network.batchNorm(`${name}.bn2`, y));
  }
  y = conv(network, bottleneck ? `${name}.conv2` : `${name}.conv1`, y, { channels: growthRate, kernel: 3 });
  return network.concat(`${name}.concat`, [x, y]);
}

function transition(network: NetworkBuilder, name: string, x: Feature, compression: number): Feature {
  let y = network.relu(`${name}.relu`, network.batchNorm(`${name}.bn`, x));
  y = conv(network, `${name}.conv`, y, { channels: Math.max(1, Math.floor(x.channels * compression)), kernel: 1 });
  return network.averagePool(`${name}.pool`, y, { kernel: 2, stride: 2 });
}

function conv(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  shape: { readonly channels: number; readonly kernel: number; readonly stride?: number },
): Feature {
  return network.conv(name, x, { ...shape, initialization: heFanIn(x.channels * shape.kernel ** 2) });
}
