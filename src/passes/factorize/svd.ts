import { z } from 'zod';
import { definePass } from '../pass.ts';
import { factorableLayers, factorizeModel } from './factorize-model.ts';
import { conflictOf, neededRoles, SHARED_OPTIONS } from './options.ts';
import { spatialVariant } from './spatial-variant.ts';
import { channelVariant } from './svd-variant.ts';

const Options = z
  .strictObject({
    ...SHARED_OPTIONS,
    conv: z
      .enum(['auto', 'channel', 'spatial'])
      .default('auto')
      .describe(
        'Form of a convolution: channel (its window with fewer outputs, then 1x1), spatial (a column of the window, then a row), or the better of the two',
      ),
  })
  .superRefine((options, check) => {
    const message = conflictOf(options);
    if (message !== undefined) check.addIssue({ code: 'custom', message });
  });

/** Writes large layers as chains of smaller ones, by singular values. */
export const factorizeSvd = definePass({
  name: 'factorize.svd',
  stage: 'prune',
  description: 'Replaces Gemm, MatMul and Conv layers by two smaller ones of low rank: fewer weights, fewer operations',
  papers: [
    {
      title: 'Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and Detection, TPAMI 2016',
      url: 'https://arxiv.org/abs/1505.06798',
    },
    {
      title: 'Jaderberg et al., Speeding up Convolutional Neural Networks with Low Rank Expansions, BMVC 2014',
      url: 'https://arxiv.org/abs/1405.3866',
    },
    {
      title:
        'Denton et al., Exploiting Linear Structure Within Convolutional Networks for Efficient Evaluation, NIPS 2014',
      url: 'https://arxiv.org/abs/1404.0736',
    },
  ],
  options: Options,
  example: { energy: 0.9 },
  needs: neededRoles,
  requires: () => undefined,
  layers: (model, options) => factorableLayers(model, options).map(({ label }) => label),
  run: (model, options, context) =>
    factorizeModel(model, options, context, (layer, moments) => {
      const spatial = options.conv === 'channel' ? undefined : spatialVariant(layer, moments, options.conv);
      if (options.conv === 'spatial' && layer.kind === 'Conv' && typeof spatial === 'string') return spatial;
      const channel = options.conv === 'spatial' && layer.kind === 'Conv' ? [] : [channelVariant(layer, moments)];
      return typeof spatial === 'object' ? [...channel, spatial] : channel;
    }),
  ensures: () => undefined,
});
