import { z } from 'zod';
import {
  commonOptions,
  defineArchitecture,
  dropoutOption,
  hasSmallStem,
  inputOf,
  stemOption,
  widthOption,
} from '../architecture.ts';
import { NetworkBuilder, type Feature } from '../network-builder.ts';
import type { Initialization } from '../weights.ts';

/** A Fire module: channels of the squeeze, and of each of the two expansions. `pool` halves the map. */
type Step = readonly [squeeze: number, expand: number] | 'pool';

const VERSIONS = {
  '1.0': {
    stem: { channels: 96, kernel: 7 },
    steps: [[16, 64], [16, 64], [32, 128], 'pool', [32, 128], [48, 192], [48, 192], [64, 256], 'pool', [64, 256]],
  },
  '1.1': {
    stem: { channels: 64, kernel: 3 },
    steps: [[16, 64], [16, 64], 'pool', [32, 128], [32, 128], 'pool', [48, 192], [48, 192], [64, 256], [64, 256]],
  },
} as const satisfies Record<string, { stem: object; steps: readonly Step[] }>;

const POOL = { kernel: 3, stride: 2, ceil: true } as const;

const options = z.strictObject({
  ...commonOptions,
  version: z.enum(['1.0', '1.1']).default('1.1').describe('1.1 has the accuracy of 1.0 at 2.4 times fewer operations'),
  width: widthOption,
  stem: stemOption,
  dropout: dropoutOption,
});

const imagenet = { inputSize: 224, classes: 1000 };

export const squeezenet = defineArchitecture({
  name: 'squeezenet',
  description:
    'Fire modules: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side; no BatchNormalization, no dense layer',
  papers: [
    {
      title: 'Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016',
      url: 'https://arxiv.org/abs/1602.07360',
    },
  ],
  options,
  example: { version: '1.1', classes: 10 },
  references: [
    { name: 'SqueezeNet 1.1, 32 pixels', options: {} },
    { name: 'SqueezeNet 1.0, ImageNet', options: { version: '1.0', ...imagenet } },
    { name: 'SqueezeNet 1.1, ImageNet', options: { version: '1.1', ...imagenet } },
  ],
  build(given, weights) {
    const { version, width, classes } = given;
    const { stem, steps } = VERSIONS[version];
    const scaled = (channels: number): number => Math.max(1, Math.round(channels * width));
    const network = new NetworkBuilder(`squeezenet${version.replace('.', '_')}`, weights);
    const input = inputOf(network, given);
    const isSmallStem = hasSmallStem(given.stem, given);
    let x = isSmallStem
      ? conv(network, 'stem.conv', input, { channels: scaled(stem.channels), kernel: 3 })
      : conv(network, 'stem.conv', input, {
          channels: scaled(stem.channels),
          kernel: stem.kernel,
          stride: 2,
          padding: 0,
        });
    x = network.relu('stem.relu', x);
    if (!isSmallStem) x = network.maxPool('stem.pool', x, POOL);
    // Numbered as in the paper, where the first convolution is layer 1.
    let layer = 2;
    for (const step of steps) {
      if (step === 'pool') {
        x = network.maxPool(`fire${layer - 1}.pool`, x, POOL);
        continue;
      }
      const [squeeze, expand] = step;
      x = fire(network, `fire${layer}`, x, { squeeze: scaled(squeeze), expand: scaled(expand) });
      layer += 1;
    }
    x = network.dropout('head.dropout', x, given.dropout);
    const initialization: Initialization = { kind: 'normal', std: 0.01 };
    x = network.conv('head.conv', x, { channels: classes, kernel: 1, bias: true, initialization });
    x = network.globalAveragePool('head.pool', network.relu('head.relu', x));
    return network.finish(network.flatten('head.flatten', x));
  },
});

function fire(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  { squeeze, expand }: { readonly squeeze: number; readonly expand: number },
): Feature {
  const squeezed = network.relu(
    `${name}.squeeze.relu`,
    conv(network, `${name}.squeeze.conv`, x, { channels: squeeze, kernel: 1 }),
  );
  const parts = [1, 3].map((kernel) => {
    const part = `${name}.expand${kernel}x${kernel}`;
    return network.relu(`${part}.relu`, conv(network, `${part}.conv`, squeezed, { channels: expand, kernel }));
  });
  return network.concat(`${name}.concat`, parts);
}

function conv(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  shape: { readonly channels: number; readonly kernel: number; readonly stride?: number; readonly padding?: number },
): Feature {
  // He uniform over fan-in: variance 2 / fan-in.
  const bound = Math.sqrt(6 / (x.channels * shape.kernel ** 2));
  return network.conv(name, x, { ...shape, bias: true, initialization: { kind: 'uniform', bound } });
}
