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

/** Expansion, channels, blocks, stride: table 2 of the paper. */
const STAGES = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

const options = z.strictObject({
  ...commonOptions,
  width: widthOption,
  depth: depthOption,
  stem: stemOption,
  dropout: dropoutOption,
});

const imagenet = { inputSize: 224, classes: 1000 };

export const mobileNetV2 = defineArchitecture({
  name: 'mobilenet-v2',
  description: 'Inverted residuals with linear bottlenecks, depthwise convolutions and ReLU6',
  papers: [
    {
      title: 'Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018',
      url: 'https://arxiv.org/abs/1801.04381',
    },
  ],
  options,
  example: { width: 0.5, classes: 10 },
  references: [
    { name: 'MobileNetV2, 32 pixels', options: {} },
    { name: 'MobileNetV2, ImageNet', options: imagenet },
    { name: 'MobileNetV2 0.35, ImageNet', options: { width: 0.35, ...imagenet } },
  ],
  build(given, weights) {
    const { width, depth, classes, dropout } = given;
    const network = new NetworkBuilder('mobilenet_v2', weights);
    const isSmallStem = hasSmallStem(given.stem, given);
    let x = inputOf(network, given);
    x = network.conv('stem.conv', x, { channels: makeDivisible(32 * width), kernel: 3, stride: isSmallStem ? 1 : 2 });
    x = network.relu6('stem.relu', network.batchNorm('stem.bn', x));
    for (const [index, [expansion, base, blocks, stageStride]] of STAGES.entries()) {
      // A small stem leaves out the first two halvings: its own and that of stage 2.
      const firstStride = isSmallStem && index === 1 ? 1 : stageStride;
      for (let block = 0; block < scaledDepth(blocks, depth); block += 1) {
        x = invertedResidual(network, `stage${index + 1}.block${block + 1}`, x, {
          expansion,
          channels: makeDivisible(base * width),
          stride: block === 0 ? firstStride : 1,
        });
      }
    }
    x = network.conv('head.conv', x, { channels: makeDivisible(1280 * Math.max(1, width)), kernel: 1 });
    x = network.relu6('head.relu', network.batchNorm('head.bn', x));
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    x = network.dropout('head.dropout', x, dropout);
    return network.finish(
      network.linear('head.fc', x, { channels: classes, initialization: { kind: 'normal', std: 0.01 } }),
    );
  },
});

function invertedResidual(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  options: { readonly expansion: number; readonly channels: number; readonly stride: number },
): Feature {
  const { expansion, channels, stride } = options;
  const inner = x.channels * expansion;
  let y = x;
  if (expansion !== 1) {
    y = network.conv(`${name}.expand.conv`, y, { channels: inner, kernel: 1 });
    y = network.relu6(`${name}.expand.relu`, network.batchNorm(`${name}.expand.bn`, y));
  }
  y = network.conv(`${name}.depthwise.conv`, y, { channels: inner, kernel: 3, stride, groups: inner });
  y = network.relu6(`${name}.depthwise.relu`, network.batchNorm(`${name}.depthwise.bn`, y));
  y = network.conv(`${name}.project.conv`, y, { channels, kernel: 1 });
  y = network.batchNorm(`${name}.project.bn`, y);
  return stride === 1 && x.channels === channels ? network.add(`${name}.add`, x, y) : y;
}
