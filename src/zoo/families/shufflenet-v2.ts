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
        x = block === 0 ? downUnit(network, name, x, channels) : unit(network, name, x);
      }
    }
    x = network.conv('head.conv', x, { channels: last, kernel: 1 });
    x = network.relu('head.relu', network.batchNorm('head.bn', x));
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    return network.finish(network.linear('head.fc', x, { channels: classes }));
  },
});

function unit(network: NetworkBuilder, name: string, x: Feature): Feature {
  const half = x.channels / 2;
  const [left = '', right = ''] = network.graph.ops('Split', [x.value], 2, {
    name: `${name}.split`,
    attributes: { axis: 1, num_outputs: 2 },
  });
  const y = branch(network, `${name}.right`, { ...x, value: right, channels: half }, { channels: half, stride: 1 });
  const both = network.concat(`${name}.concat`, [{ ...x, value: left, channels: half }, y]);
  return channelShuffle(network, `${name}.shuffle`, both, 2);
}

function downUnit(network: NetworkBuilder, name: string, x: Feature, channels: number): Feature {
  const half = channels / 2;
  const depthwise = { channels: x.channels, kernel: 3, stride: 2, groups: x.channels };
  let left = network.conv(`${name}.left.depthwise.conv`, x, depthwise);
  left = network.batchNorm(`${name}.left.depthwise.bn`, left);
  left = network.conv(`${name}.left.pointwise.conv`, left, { channels: half, kernel: 1 });
  left = network.relu(`${name}.left.pointwise.relu`, network.batchNorm(`${name}.left.pointwise.bn`, left));
  const right = branch(network, `${name}.right`, x, { channels: half, stride: 2 });
  return channelShuffle(network, `${name}.shuffle`, network.concat(`${name}.concat`, [left, right]), 2);
}

function branch(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  { channels, stride }: { readonly channels: number; readonly stride: number },
): Feature {
  let y = network.conv(`${name}.conv1`, x, { channels, kernel: 1 });
  y = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, y));
  y = network.conv(`${name}.depthwise.conv`, y, { channels, kernel: 3, stride, groups: channels });
  y = network.batchNorm(`${name}.depthwise.bn`, y);
  y = network.conv(`${name}.conv2`, y, { channels, kernel: 1 });
  return network.relu(`${name}.relu2`, network.batchNorm(`${name}.bn2`, y));
}
