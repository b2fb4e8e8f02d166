import { z } from 'zod';
import { commonOptions, defineArchitecture, dropoutOption, inputOf, widthOption } from '../architecture.ts';
import { NetworkBuilder } from '../network-builder.ts';

/** Convolutions by stage: configurations A, B, D and E of the paper. */
const STAGES = { 11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4] } as const;
const CHANNELS = [64, 128, 256, 512, 512] as const;

const options = z.strictObject({
  ...commonOptions,
  depth: z
    .union([z.literal(11), z.literal(13), z.literal(16), z.literal(19)])
    .default(11)
    .describe('Weighted layers'),
  width: widthOption.describe('Factor on the channels of every convolution'),
  headWidth: z
    .number()
    .int()
    .min(1)
    .max(8192)
    .default(512)
    .describe('Features of the two dense layers; 4096 in the paper'),
  batchNorm: z.boolean().default(true).describe('BatchNormalization behind every convolution'),
  dropout: dropoutOption.describe('Share of features dropped behind each dense layer, in training only'),
});

const imagenet = { headWidth: 4096, inputSize: 224, classes: 1000 };

export const vgg = defineArchitecture({
  name: 'vgg',
  description: 'Plain stacks of 3x3 convolutions with pooling between, and three dense layers',
  papers: [
    {
      title: 'Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015',
      url: 'https://arxiv.org/abs/1409.1556',
    },
  ],
  options,
  example: { depth: 11, width: 0.5, classes: 10 },
  references: [
    { name: 'VGG-16 with BatchNormalization, 32 pixels', options: { depth: 16 } },
    { name: 'VGG-16, ImageNet', options: { depth: 16, batchNorm: false, ...imagenet } },
    { name: 'VGG-16 with BatchNormalization, ImageNet', options: { depth: 16, ...imagenet } },
  ],
  build(given, weights) {
    const { depth, width, headWidth, classes, dropout } = given;
    const network = new NetworkBuilder(`vgg${depth}`, weights);
    let x = inputOf(network, given);
    for (const [stage, count] of STAGES[depth].entries()) {
      const channels = Math.max(1, Math.round((CHANNELS[stage] ?? 0) * width));
      for (let layer = 1; layer <= count; layer += 1) {
        const name = `stage${stage + 1}`;
        x = network.conv(`${name}.conv${layer}`, x, { channels, kernel: 3, bias: true });
        if (given.batchNorm) x = network.batchNorm(`${name}.bn${layer}`, x);
        x = network.relu(`${name}.relu${layer}`, x);
      }
      // A small image is down to one pixel before the last stage.
      if (Math.min(x.height, x.width) > 1) x = network.maxPool(`stage${stage + 1}.pool`, x, { kernel: 2, stride: 2 });
    }
    x = network.flatten('head.flatten', x);
    const initialization = { kind: 'normal', std: 0.01 } as const;
    for (const layer of [1, 2]) {
      x = network.relu(
        `head.relu${layer}`,
        network.linear(`head.fc${layer}`, x, { channels: headWidth, initialization }),
      );
      x = network.dropout(`head.dropout${layer}`, x, dropout);
    }
    return network.finish(network.linear('head.fc3', x, { channels: classes, initialization }));
  },
});
