import { z } from 'zod';
import {
  commonOptions,
  defineArchitecture,
  depthOption,
  dropoutOption,
  hasSmallStem,
  inputOf,
  makeDivisible,
  scaledDepth,
  stemOption,
  widthOption,
} from '../architecture.ts';
import { NetworkBuilder, type Feature } from '../network-builder.ts';

/** Channels, blocks, stride of the first block: table 1 of the paper, blocks of one resolution together. */
const STAGES = [
  [64, 1, 1],
  [128, 2, 2],
  [256, 2, 2],
  [512, 6, 2],
  [1024, 2, 2],
] as const;

const options = z.strictObject({
  ...commonOptions,
  width: widthOption,
  depth: depthOption,
  stem: stemOption,
  dropout: dropoutOption,
});

const imagenet = { inputSize: 224, classes: 1000 };

export const mobileNetV1 = defineArchitecture({
  name: 'mobilenet-v1',
  description: 'Depthwise separable convolutions: 3x3 depthwise, then 1x1',
  papers: [
    {
      title: 'Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017',
      url: 'https://arxiv.org/abs/1704.04861',
    },
  ],
  options,
  example: { width: 0.25, classes: 10 },
  references: [
    { name: 'MobileNetV1, 32 pixels', options: {} },
    ...[1, 0.75, 0.5, 0.25].map((width) => ({
      name: `MobileNetV1 ${width}, ImageNet`,
      options: { width, ...imagenet },
    })),
  ],
  build(given, weights) {
    const { width, depth, classes } = given;
    const network = new NetworkBuilder('mobilenet_v1', weights);
    const isSmallStem = hasSmallStem(given.stem, given);
    let x = inputOf(network, given);
    x = network.conv('stem.conv', x, { channels: makeDivisible(32 * width), kernel: 3, stride: isSmallStem ? 1 : 2 });
    x = network.relu('stem.relu', network.batchNorm('stem.bn', x));
    for (const [index, [base, blocks, stageStride]] of STAGES.entries()) {
      const firstStride = isSmallStem && index === 1 ? 1 : stageStride;
      for (let block = 0; block < scaledDepth(blocks, depth); block += 1) {
        const shape = { channels: makeDivisible(base * width), stride: block === 0 ? firstStride : 1 };
        x = separable(network, `stage${index + 1}.block${block + 1}`, x, shape);
      }
    }
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    x = network.dropout('head.dropout', x, given.dropout);
    return network.finish(
      network.linear('head.fc', x, { channels: classes, initialization: { kind: 'normal', std: 0.01 } }),
    );
  },
});

function separable(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  { channels, stride }: { readonly channels: number; readonly stride: number },
): Feature {
  let y = network.conv(`${name}.depthwise.conv`, x, { channels: x.channels, kernel: 3, stride, groups: x.channels });
  y = network.relu(`${name}.depthwise.relu`, network.batchNorm(`${name}.depthwise.bn`, y));
  y = network.conv(`${name}.pointwise.conv`, y, { channels, kernel: 1 });
  return network.relu(`${name}.pointwise.relu`, network.batchNorm(`${name}.pointwise.bn`, y));
}
