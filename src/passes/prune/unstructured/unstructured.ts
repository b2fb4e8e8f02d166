import { z } from 'zod';
import type { Model } from '../../../onnx/model.ts';
import { definePass, type PassContext } from '../../pass.ts';
import { applyMasks, describeSparsity, NO_SPEED } from '../scores/apply-masks.ts';
import { checkNoneEmpty, thresholdMask, type Masks } from '../scores/choose-masks.ts';
import { DATA_FREE } from '../scores/element-scores.ts';
import { dataFreeMasks } from '../scores/one-shot.ts';
import { layerFields, PAPERS, sparsityField } from '../scores/options.ts';
import { weightTargets, type WeightTarget } from '../scores/weight-targets.ts';

const DEFAULT_SPARSITY = 0.5;

const Options = z
  .strictObject({
    method: z.enum(DATA_FREE).default('magnitude').describe('Score by which weights go: the lowest are zeroed first'),
    sparsity: sparsityField
      .optional()
      .describe(`Share of the weights that become zero, exactly; default ${DEFAULT_SPARSITY} without a threshold`),
    threshold: z
      .union([z.number().positive(), z.strictObject({ deviations: z.number().positive() })])
      .optional()
      .describe(
        'In place of sparsity, method magnitude only: zeroes weights below this absolute value, or below so many standard deviations of their layer',
      ),
    scope: z
      .enum(['layer', 'global'])
      .optional()
      .describe('The same sparsity in each layer, or one ranking over all; default global with lamp, else layer'),
    ...layerFields,
  })
  .refine(({ sparsity, threshold }) => sparsity === undefined || threshold === undefined, {
    error: 'give sparsity or threshold, not both',
    path: ['threshold'],
  })
  .refine(({ method, threshold }) => threshold === undefined || method === 'magnitude', {
    error: 'a threshold is compared with absolute values: use it with method magnitude, or give sparsity',
    path: ['threshold'],
  });
type Options = z.output<typeof Options>;

/** Zeroes single weights and leaves the shapes as they are. */
export const pruneUnstructured = definePass({
  name: 'prune.unstructured',
  stage: 'prune',
  description: 'Zeroes single weights by score: a smaller compressed file, the same shapes, no gain in speed on CPU',
  papers: PAPERS,
  options: Options,
  example: { method: 'magnitude', sparsity: 0.5 },
  needs: () => [],
  requires: () => undefined,
  run(model, options, context) {
    const { targets, skipped } = weightTargets(model, options);
    const masks = masksOf(model, targets, options, context);
    checkNoneEmpty(targets, masks, remedy(options));
    const changes = applyMasks(model, masks);
    return Promise.resolve({
      changes,
      skipped,
      warnings: targets.length === 0 ? ['The model has no weight that this step prunes.'] : [NO_SPEED],
      details: describeSparsity(model, targets),
    });
  },
  ensures: () => undefined,
});

function masksOf(
  model: Model,
  targets: readonly WeightTarget[],
  options: Options,
  context: Pick<PassContext, 'seed'>,
): Masks {
  const { method, threshold } = options;
  if (threshold !== undefined) {
    const weightsOf = (name: string): Float32Array =>
      model.graph.initializers.get(name)?.floats() ?? new Float32Array(0);
    return new Map(targets.map(({ name }) => [name, thresholdMask(weightsOf(name), threshold)]));
  }
  const scope = options.scope ?? (method === 'lamp' ? 'global' : 'layer');
  const sparsity = options.sparsity ?? DEFAULT_SPARSITY;
  return dataFreeMasks(model, targets, { method, seed: context.seed, pattern: { kind: 'elements', scope, sparsity } });
}

function remedy({ threshold, exclude }: Options): string {
  const spare = exclude.length === 0 ? 'exclude these layers' : 'exclude these layers too';
  return threshold === undefined
    ? `use scope layer, a lower sparsity, or ${spare}`
    : `use a lower threshold, sparsity in its place, or ${spare}`;
}
