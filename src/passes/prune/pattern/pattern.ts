import { z } from 'zod';
import { definePass } from '../../pass.ts';
import { applyMasks, describeSparsity, NO_SPEED } from '../scores/apply-masks.ts';
import type { SparsityPattern } from '../scores/choose-masks.ts';
import { DATA_FREE } from '../scores/element-scores.ts';
import { dataFreeMasks } from '../scores/one-shot.ts';
import { layerFields, PAPERS, sparsityField } from '../scores/options.ts';
import { weightTargets } from '../scores/weight-targets.ts';

const side = z.number().int().min(1).max(1024);

const Options = z
  .strictObject({
    method: z.enum(DATA_FREE).default('magnitude').describe('Score by which weights go: the lowest are zeroed first'),
    n: z.number().int().min(1).max(64).default(2).describe('Weights that stay of each m consecutive input channels'),
    m: z.number().int().min(2).max(64).default(4).describe('Input channels in a group; a remainder stays dense'),
    block: z
      .tuple([side, side])
      .optional()
      .describe(
        'In place of n of m: zeroes whole blocks of [output channels, input channels] at a place of the kernel',
      ),
    sparsity: sparsityField.default(0.5).describe('With block: share of the blocks that become zero'),
    ...layerFields,
  })
  .refine(({ n, m }) => n < m, { error: 'n must be less than m: n of each m weights stay', path: ['n'] });
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
  needs: () => [],
  requires: () => undefined,
  run(model, options, context) {
    const { targets, skipped } = weightTargets(model, options);
    const masks = dataFreeMasks(model, targets, {
      method: options.method,
      seed: context.seed,
      pattern: patternOf(options),
    });
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

function patternOf({ n, m, block, sparsity }: Options): SparsityPattern {
  if (block === undefined) return { kind: 'n-of-m', zeros: m - n, m };
  return { kind: 'blocks', rows: block[0], columns: block[1], sparsity };
}
