import { z } from 'zod';
import { distillationModels } from '../../distillation-field.ts';
import { layersWithWeights } from '../../layers-with-weights.ts';
import { definePass } from '../../pass.ts';
import type { SparsityPattern } from '../scores/choose-masks.ts';
import { contradiction, PAPERS, pruningFields, sparsityField } from '../scores/options.ts';
import { neededRoles, runPruning, whyImpossible } from '../scores/run-pruning.ts';
import { weightTargets } from '../../layer-inputs/weight-targets.ts';

const side = z.number().int().min(1).max(1024);

const Options = z
  .strictObject({
    ...pruningFields,
    n: z.number().int().min(1).max(64).default(2).describe('Weights that stay of each m consecutive input channels'),
    m: z.number().int().min(2).max(64).default(4).describe('Input channels in a group; a remainder stays dense'),
    block: z
      .tuple([side, side])
      .optional()
      .describe(
        'In place of n of m: zeroes whole blocks of [output channels, input channels] at a place of the kernel',
      ),
    sparsity: sparsityField.default(0.5).describe('With block: share of the blocks that become zero'),
  })
  .superRefine((options, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (options.n >= options.m) refuse('n', 'n must be less than m: n of each m weights stay');
    if (options.block !== undefined && options.method === 'sparsegpt') {
      refuse('block', 'sparsegpt chooses single weights or n of m; use another method with block');
    }
    const wrong = contradiction(options);
    if (wrong !== undefined) refuse(wrong.path, wrong.message);
  });
type Options = z.output<typeof Options>;

/** Zeroes weights in patterns that hardware and formats can use: N of M, or blocks. */
export const prunePattern = definePass({
  name: 'prune.pattern',
  stage: 'prune',
  description: 'Zeroes weights in a regular pattern (2 of 4, blocks) that sparse hardware and formats can use',
  papers: [
    { title: 'Mishra et al., Accelerating Sparse Deep Neural Networks, 2021', url: 'https://arxiv.org/abs/2104.08378' },
    ...PAPERS,
  ],
  options: Options,
  example: { n: 2, m: 4 },
  needs: neededRoles,
  models: distillationModels,
  layers: (model, options) => layersWithWeights(model, options),
  requires: whyImpossible,
  run(model, options, context) {
    const remedy = 'use a lower sparsity, smaller blocks, or exclude these layers';
    return runPruning(model, weightTargets(model, options), { options, pattern: patternOf(options), remedy }, context);
  },
  ensures: () => undefined,
});

function patternOf({ n, m, block, sparsity }: Options): SparsityPattern {
  if (block === undefined) return { kind: 'n-of-m', zeros: m - n, m };
  return { kind: 'blocks', rows: block[0], columns: block[1], sparsity };
}
