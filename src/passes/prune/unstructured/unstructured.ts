import { z } from 'zod';
import type { Model } from '../../../onnx/model.ts';
import { distillationModels } from '../../distillation-field.ts';
import { layersWithWeights } from '../../layers-with-weights.ts';
import { definePass } from '../../pass.ts';
import { applyMasks } from '../scores/apply-masks.ts';
import { checkNoneEmpty, thresholdMask } from '../scores/choose-masks.ts';
import { readsInputs } from '../scores/one-shot.ts';
import { contradiction, PAPERS, pruningFields, sparsityField } from '../scores/options.ts';
import { finishPruning, neededRoles, runPruning, whyImpossible } from '../scores/run-pruning.ts';
import { weightTargets, type WeightTarget } from '../../layer-inputs/weight-targets.ts';

const DEFAULT_SPARSITY = 0.5;

const Options = z
  .strictObject({
    ...pruningFields,
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
      .enum(['row', 'layer', 'global'])
      .optional()
      .describe(
        'What shares a ranking: an output row, a layer, or all layers together; default row with wanda, global with lamp and snip, else layer',
      ),
  })
  .superRefine((options, context) => {
    const { method, schedule, sparsity, threshold, scope } = options;
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (threshold !== undefined && sparsity !== undefined) refuse('threshold', 'give sparsity or threshold, not both');
    if (threshold !== undefined && (method !== 'magnitude' || schedule.name !== 'oneshot')) {
      refuse('threshold', 'a threshold goes with method magnitude and schedule oneshot; give sparsity');
    }
    if (readsInputs(method) && (scope === 'global' || (scope === 'row' && method === 'sparsegpt'))) {
      refuse(
        'scope',
        `${method} ${method === 'wanda' ? 'goes by row or layer' : 'goes by layer'}; leave scope out, or use magnitude or lamp`,
      );
    }
    const wrong = contradiction(options);
    if (wrong !== undefined) refuse(wrong.path, wrong.message);
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
  needs: neededRoles,
  models: distillationModels,
  layers: (model, options) => layersWithWeights(model, options),
  requires: whyImpossible,
  async run(model, options, context) {
    const found = weightTargets(model, options);
    if (options.threshold !== undefined) {
      const outcome = byThreshold(model, found.targets, options);
      return finishPruning(model, { skipped: found.skipped, outcome, sidecar: options.sidecar }, context);
    }
    const pattern = {
      kind: 'elements',
      scope: scopeOf(options),
      sparsity: options.sparsity ?? DEFAULT_SPARSITY,
    } as const;
    return runPruning(model, found, { options, pattern, remedy: remedy(options) }, context);
  },
  ensures: () => undefined,
});

/** Scores that are made to be compared between layers are; Wanda compares within a row, as its authors do. */
function scopeOf({ scope, method }: Options): 'row' | 'layer' | 'global' {
  if (scope !== undefined) return scope;
  if (method === 'wanda') return 'row';
  return method === 'lamp' || method === 'snip' ? 'global' : 'layer';
}

function byThreshold(model: Model, targets: readonly WeightTarget[], options: Options) {
  const weightsOf = (name: string): Float32Array => model.graph.initializers.get(name)?.floats() ?? new Float32Array(0);
  const limit = options.threshold ?? 0;
  const masks = new Map(targets.map(({ name }) => [name, thresholdMask(weightsOf(name), limit)]));
  checkNoneEmpty(targets, masks, remedy(options));
  return { changes: applyMasks(model, masks), pruned: targets, skipped: [] };
}

function remedy({ threshold, exclude }: Options): string {
  const spare = exclude.length === 0 ? 'exclude these layers' : 'exclude these layers too';
  return threshold === undefined
    ? `use scope layer, a lower sparsity, or ${spare}`
    : `use a lower threshold, sparsity in its place, or ${spare}`;
}
