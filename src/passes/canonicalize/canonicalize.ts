import { z } from 'zod';
import { NameScope } from '../../onnx/graph.ts';
import type { Model } from '../../onnx/model.ts';
import { definePass, type Skipped } from '../pass.ts';
import { liftConstants, shareInitializers } from './constants.ts';
import { removeDeadCode } from './dead-code.ts';
import { foldBatchNormalizations } from './fold-batch-normalization.ts';
import { removeIdentities } from './identities.ts';
import { overridableInitializers, scopesOf, type Workspace } from './scope.ts';
import { sortNodes } from './sort-nodes.ts';
import { typeLookup } from './type-lookup.ts';

const OptionsSchema = z.strictObject({
  foldBatchNormalization: z
    .boolean()
    .default(true)
    .describe(
      'Fold BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul beside it. Off when a later step trains it.',
    ),
});
type Options = z.output<typeof OptionsSchema>;

/** Rounds after which the pass stops even if one step could still make work for another. */
const MAX_ROUNDS = 16;

export const canonicalize = definePass({
  name: 'canonicalize',
  stage: 'canonicalize',
  description: 'Brings a model into one form for the passes behind it, without changing what it computes.',
  papers: [{ title: 'Batch Normalization (Ioffe and Szegedy, 2015)', url: 'https://arxiv.org/abs/1502.03167' }],
  options: OptionsSchema,
  example: {},
  needs: () => [],
  requires: () => undefined,
  // eslint-disable-next-line @typescript-eslint/require-await -- grows an await with constant folding
  async run(model, options) {
    const skipped: Skipped[] = [];
    const details: Record<string, number> = {};
    let changes = 0;
    for (let round = 0, before = -1; round < MAX_ROUNDS && changes !== before; round += 1) {
      before = changes;
      skipped.length = 0;
      changes += oneRound(model, options, skipped, details);
    }
    return { changes, skipped, warnings: [], details };
  },
  ensures: () => undefined,
});

function oneRound(model: Model, options: Options, skipped: Skipped[], details: Record<string, number>): number {
  let changes = 0;
  const count = (what: string, times: number): void => {
    details[what] = (details[what] ?? 0) + times;
    changes += times;
  };
  const workspace: Workspace = {
    model,
    names: new NameScope(model.graph),
    overridable: overridableInitializers(model),
    typeOf: typeLookup(),
  };
  for (const scope of scopesOf(model)) {
    count('sortedNodes', sortNodes(scope.graph));
    count('constantsLifted', liftConstants(scope, skipped));
    count('identitiesRemoved', removeIdentities(scope, workspace, skipped));
    if (options.foldBatchNormalization) {
      const reasons: Skipped[] = [];
      count('batchNormalizationsFolded', foldBatchNormalizations(scope, workspace, reasons));
      skipped.push(...reasons);
    }
    count('deadRemoved', removeDeadCode(scope));
    count('initializersShared', shareInitializers(scope, workspace));
  }
  return changes;
}
