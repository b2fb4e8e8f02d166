import { z } from 'zod';
import { commonOptions, defineArchitecture, inputOf } from '../architecture.ts';
import { NetworkBuilder, type Feature } from '../network-builder.ts';

const STEM_CHANNELS = 16;

const options = z
  .strictObject({
    ...commonOptions,
    depth: z.number().int().min(10).max(502).default(16).describe('Weighted layers: 6n + 4 (10, 16, 22, 28, 40)'),
    width: z.number().min(0.25).max(16).default(2).describe('Factor on the 16, 32 and 64 channels of the stages'),
    dropout: z
      .number()
      .min(0)
      .lt(1)
      .default(0)
      .describe('Share of features dropped between the convolutions of a block, in training only'),
  })
  .refine(({ depth }) => Number.isInteger((depth - 4) / 6), {
    path: ['depth'],
    error: 'must be 6n + 4 (10, 16, 22, 28, 40)',
  });

export const wideResnet = defineArchitecture({
  name: 'wide-resnet',
  description: 'Residual networks with activation ahead of the convolutions, wide instead of deep, for small images',
  papers: [
    { title: 'Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016', url: 'https://arxiv.org/abs/1605.07146' },
    {
      title: 'He et al., Identity Mappings in Deep Residual Networks, ECCV 2016',
      url: 'https://arxiv.org/abs/1603.05027',
    },
  ],
  options,
  example: { depth: 16, width: 1, classes: 10 },
  references: [
    { name: 'WRN-16-2, 100 classes', options: { depth: 16, width: 2, classes: 100 } },
    { name: 'WRN-40-2, 100 classes', options: { depth: 40, width: 2, classes: 100 } },
    { name: 'WRN-28-10', options: { depth: 28, width: 10 } },
  ],
  build(given, weights) {
    const { depth, width, dropout, classes } = given;
    const network = new NetworkBuilder(`wrn_${depth}_${width}`, weights);
    let x = network.conv('stem.conv', inputOf(network, given), { channels: STEM_CHANNELS, kernel: 3 });
    for (let stage = 0; stage < 3; stage += 1) {
      const channels = Math.max(1, Math.round(STEM_CHANNELS * width * 2 ** stage));
      for (let block = 0; block < (depth - 4) / 6; block += 1) {
        const stride = stage > 0 && block === 0 ? 2 : 1;
        x = wideBlock(network, `stage${stage + 1}.block${block + 1}`, x, { channels, stride, dropout });
      }
    }
    x = network.relu('head.relu', network.batchNorm('head.bn', x));
    x = network.flatten('head.flatten', network.globalAveragePool('head.pool', x));
    return network.finish(network.linear('head.fc', x, { channels: classes }));
  },
});

function wideBlock(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  options: { readonly channels: number; readonly stride: number; readonly dropout: number },
): Feature {
  const { channels, stride, dropout } = options;
  const active = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, x));
  let y = network.conv(`${name}.conv1`, active, { channels, kernel: 3, stride });
  y = network.relu(`${name}.relu2`, network.batchNorm(`${name}.bn2`, y));
  y = network.conv(`${name}.conv2`, network.dropout(`${name}.dropout`, y, dropout), { channels, kernel: 3 });
  const isSame = stride === 1 && x.channels === channels;
  const shortcut = isSame ? x : network.conv(`${name}.shortcut.conv`, active, { channels, kernel: 1, stride });
  return network.add(`${name}.add`, y, shortcut);
}
