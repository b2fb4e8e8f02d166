import { z } from 'zod';
import {
  commonOptions,
  defineArchitecture,
  dropoutOption,
  hasSmallStem,
  inputOf,
  makeDivisible,
  stemOption,
  widthOption,
} from '../architecture.ts';
import { NetworkBuilder, type Activation, type Feature } from '../network-builder.ts';
import { squeezeExcite } from './squeeze-excite.ts';

type Row = readonly [
  kernel: number,
  expansion: number,
  channels: number,
  squeeze: boolean,
  activation: Activation,
  stride: number,
];

/** Tables 1 and 2 of the paper. */
const VARIANTS: Readonly<Record<'large' | 'small', { readonly last: number; readonly rows: readonly Row[] }>> = {
  large: {
    last: 1280,
    rows: [
      [3, 16, 16, false, 'relu', 1],
      [3, 64, 24, false, 'relu', 2],
      [3, 72, 24, false, 'relu', 1],
      [5, 72, 40, true, 'relu', 2],
      [5, 120, 40, true, 'relu', 1],
      [5, 120, 40, true, 'relu', 1],
      [3, 240, 80, false, 'hardswish', 2],
      [3, 200, 80, false, 'hardswish', 1],
      [3, 184, 80, false, 'hardswish', 1],
      [3, 184, 80, false, 'hardswish', 1],
      [3, 480, 112, true, 'hardswish', 1],
      [3, 672, 112, true, 'hardswish', 1],
      [5, 672, 160, true, 'hardswish', 2],
      [5, 960, 160, true, 'hardswish', 1],
      [5, 960, 160, true, 'hardswish', 1],
    ],
  },
  small: {
    last: 1024,
    rows: [
      [3, 16, 16, true, 'relu', 2],
      [3, 72, 24, false, 'relu', 2],
      [3, 88, 24, false, 'relu', 1],
      [5, 96, 40, true, 'hardswish', 2],
      [5, 240, 40, true, 'hardswish', 1],
      [5, 240, 40, true, 'hardswish', 1],
      [5, 120, 48, true, 'hardswish', 1],
      [5, 144, 48, true, 'hardswish', 1],
      [5, 288, 96, true, 'hardswish', 2],
      [5, 576, 96, true, 'hardswish', 1],
      [5, 576, 96, true, 'hardswish', 1],
    ],
  },
};
/** PyTorch's momentum is 0.01, so 0.99 of the old statistics stay. */
const BATCH_NORM = { epsilon: 1e-3, momentum: 0.99 };

const options = z.strictObject({
  ...commonOptions,
  variant: z.enum(['large', 'small']).default('small').describe('Which of the two networks of the paper'),
  width: widthOption,
  stem: stemOption,
  dropout: dropoutOption,
});

const imagenet = { inputSize: 224, classes: 1000 };

export const mobileNetV3 = defineArchitecture({
  name: 'mobilenet-v3',
  description: 'Inverted residuals found by search, with squeeze-and-excitation and HardSwish',
  papers: [
    { title: 'Howard et al., Searching for MobileNetV3, ICCV 2019', url: 'https://arxiv.org/abs/1905.02244' },
    { title: 'Hu et al., Squeeze-and-Excitation Networks, CVPR 2018', url: 'https://arxiv.org/abs/1709.01507' },
  ],
  options,
  example: { variant: 'small', classes: 10 },
  references: [
    { name: 'MobileNetV3 small, 32 pixels', options: {} },
    { name: 'MobileNetV3 large, ImageNet', options: { variant: 'large', ...imagenet } },
    { name: 'MobileNetV3 small, ImageNet', options: { variant: 'small', ...imagenet } },
  ],
  build(given, weights) {
    const { variant, width, classes } = given;
    const { last, rows } = VARIANTS[variant];
    const isSmallStem = hasSmallStem(given.stem, given);
    const network = new NetworkBuilder(`mobilenet_v3_${variant}`, weights, BATCH_NORM);
    let x = inputOf(network, given);
    x = network.conv('stem.conv', x, { channels: makeDivisible(16 * width), kernel: 3, stride: isSmallStem ? 1 : 2 });
    x = network.activation('stem.hardswish', network.batchNorm('stem.bn', x), 'hardswish');
    const firstHalving = rows.findIndex(([, , , , , stride]) => stride === 2);
    for (const [index, [kernel, expansion, channels, squeeze, activation, stride]] of rows.entries()) {
      x = bottleneck(network, `block${index + 1}`, x, {
        kernel,
        expansion: makeDivisible(expansion * width),
        channels: makeDivisible(channels * width),
        squeeze,
        activation,
        // A small stem leaves out the first two halvings.
        stride: isSmallStem && index === firstHalving ? 1 : stride,
      });
    }
    x = network.conv('head.conv', x, { channels: 6 * x.channels, kernel: 1 });
    x = network.activation('head.hardswish1', network.batchNorm('head.bn', x), 'hardswish');
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    const initialization = { kind: 'normal', std: 0.01 } as const;
    x = network.linear('head.fc1', x, { channels: makeDivisible(last * width), initialization });
    x = network.activation('head.hardswish2', x, 'hardswish');
    x = network.dropout('head.dropout', x, given.dropout);
    return network.finish(network.linear('head.fc2', x, { channels: classes, initialization }));
  },
});

interface BottleneckShape {
  readonly kernel: number;
  readonly expansion: number;
  readonly channels: number;
  readonly squeeze: boolean;
  readonly activation: Activation;
  readonly stride: number;
}

function bottleneck(network: NetworkBuilder, name: string, x: Feature, shape: BottleneckShape): Feature {
  const { kernel, expansion, channels, squeeze, activation, stride } = shape;
  let y = x;
  if (expansion !== x.channels) {
    y = network.conv(`${name}.expand.conv`, y, { channels: expansion, kernel: 1 });
    y = network.activation(`${name}.expand.${activation}`, network.batchNorm(`${name}.expand.bn`, y), activation);
  }
  y = network.conv(`${name}.depthwise.conv`, y, { channels: expansion, kernel, stride, groups: expansion });
  y = network.activation(`${name}.depthwise.${activation}`, network.batchNorm(`${name}.depthwise.bn`, y), activation);
  if (squeeze) y = squeezeExcite(network, `${name}.se`, y, makeDivisible(y.channels / 4));
  y = network.batchNorm(`${name}.project.bn`, network.conv(`${name}.project.conv`, y, { channels, kernel: 1 }));
  return stride === 1 && x.channels === channels ? network.add(`${name}.add`, x, y) : y;
}
