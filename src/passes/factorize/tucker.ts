import { z } from 'zod';
import { definePass } from '../pass.ts';
import { factorableLayers, factorizeModel } from './factorize-model.ts';
import { conflictOf, neededRoles, SHARED_OPTIONS } from './options.ts';
import { tuckerObstacle, tuckerVariant } from './tucker-variant.ts';

const Options = z.strictObject(SHARED_OPTIONS).superRefine((options, check) => {
  const message = conflictOf(options);
  if (message !== undefined) check.addIssue({ code: 'custom', message });
});

/** Writes convolutions as 1x1, window, 1x1. */
export const factorizeTucker = definePass({
  name: 'factorize.tucker',
  stage: 'prune',
  description:
    'Replaces convolutions by three: 1x1 to fewer channels, the window between fewer channels, 1x1 back (Tucker-2)',
  papers: [
    {
      title:
        'Kim et al., Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications, ICLR 2016',
      url: 'https://arxiv.org/abs/1511.06530',
    },
  ],
  options: Options,
  example: { energy: 0.9 },
  needs: neededRoles,
  requires: () => undefined,
  layers: (model, options) =>
    factorableLayers(model, options)
      .filter((layer) => tuckerObstacle(layer) === undefined)
      .map(({ label }) => label),
  run: (model, options, context) =>
    factorizeModel(model, options, context, (layer, moments, rule) => {
      const variant = tuckerVariant(layer, moments, rule);
      return typeof variant === 'string' ? variant : [variant];
    }),
  ensures: () => undefined,
});
