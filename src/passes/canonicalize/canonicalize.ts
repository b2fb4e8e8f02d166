import { z } from 'zod';
import { NameScope, withSubgraphs } from '../../onnx/graph.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';
import type { TypeTable } from '../../onnx/inference/type-table.ts';
import type { Model } from '../../onnx/model.ts';
import { HIGHEST_OPSET, LOWEST_OPSET } from '../../onnx/upgrade/adapters.ts';
import { raiseIrVersion } from '../../onnx/upgrade/ir-version.ts';
import { DEFAULT_OPSET, upgradeOpset } from '../../onnx/upgrade/upgrade-opset.ts';
import { quoteName } from '../../onnx/verify/quote.ts';
import { sortTopologically } from '../../onnx/verify/topological-order.ts';
import { definePass, type PassContext, type PassResult, type Skipped } from '../pass.ts';
import { liftConstants } from './constants.ts';
import { removeDeadCode } from './dead-code.ts';
import { foldBatchNormalizations } from './fold-batch-normalization.ts';
import { foldBiases } from './fold-biases.ts';
import { foldConstants } from './fold-constants.ts';
import { removeIdentities } from './identities.ts';
import { overridableInitializers, scopesOf, type Workspace } from './scope.ts';
import { shareInitializers } from './share-initializers.ts';

const OptionsSchema = z.strictObject({
  opset: z
    .union([z.literal('auto'), z.int().min(LOWEST_OPSET).max(HIGHEST_OPSET)])
    .default('auto')
    .describe(
      'Opset to raise the model to. A model that is above it, or has no exact form in it, keeps its own. "auto": 21, or 18 for a model with AveragePool, which ONNX Runtime computes more slowly from opset 19 on.',
    ),
  foldBatchNormalization: z
    .union([z.boolean(), z.literal('auto')])
    .default('auto')
    .describe(
      'Fold BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul beside it. "auto": yes, unless a later step of the recipe trains it or chooses by it; then it is folded after that step. Where it is not folded, Dropout stays too.',
    ),
  constantFoldBytes: z
    .int()
    .min(0)
    .max(2 ** 30)
    .default(2 ** 20)
    .describe(
      'Largest constant, in bytes, that folding may add to the model; all together may add 16 times as much. A result that is no larger than the constants it replaces is always folded.',
    ),
  overridableInitializers: z
    .enum(['keep', 'freeze'])
    .default('keep')
    .describe(
      'From IR 4 on, an initializer that is a graph input too can be set by the caller and is no constant. "freeze" takes such inputs away, so that they are.',
    ),
});
type Options = z.output<typeof OptionsSchema>;

/** Rounds after which the pass stops even if one step could still make work for another. */
const MAX_ROUNDS = 32;

/**
 * Brings a model into the form the other passes expect, without changing what it computes: see docs/passes/canonicalize.md
 * for each step and how exact it is.
 */
export const canonicalize = definePass({
  name: 'canonicalize',
  stage: 'canonicalize',
  description:
    'Brings the model into one form without changing what it computes: opset raised, constants folded, BatchNormalization folded, identities and dead code removed.',
  papers: [{ title: 'Batch Normalization (Ioffe and Szegedy, 2015)', url: 'https://arxiv.org/abs/1502.03167' }],
  options: OptionsSchema,
  example: { opset: 21, foldBatchNormalization: true },
  needs: () => [],
  requires: () => undefined,
  run: canonicalizeModel,
  ensures: () => undefined,
});

async function canonicalizeModel(model: Model, options: Options, context: PassContext): Promise<PassResult> {
  const counts: Record<string, number> = {};
  const skipped: Skipped[] = [];
  const nodesBefore = model.graph.nodes.length;
  const frozen = options.overridableInitializers === 'freeze' ? freezeInitializers(model) : 0;
  // Names of initializers may only change hands where the graph says what they are: from IR 4 on.
  const upgrade = upgradeOpset(model, options.opset === 'auto' ? bestOpset(model) : options.opset);
  const irRaised = raiseIrVersion(model, 4);
  let changes = frozen + upgrade.changed + (upgrade.to > upgrade.from || irRaised ? 1 : 0);
  for (let round = 0, before = -1; round < MAX_ROUNDS && changes !== before; round += 1) {
    context.signal.throwIfAborted();
    before = changes;
    skipped.length = 0;
    changes += await oneRound(model, options, { context, skipped, counts });
    context.progress(Math.min(0.9, (round + 1) / 4));
  }
  const shared = shareInitializers(workspaceOf(model));
  changes += shared;
  skipped.unshift(...upgrade.skipped);
  const overridable = [...overridableInitializers(model)];
  return {
    changes,
    skipped,
    warnings:
      overridable.length === 0
        ? []
        : [
            `${overridable.length} initializers are graph inputs too (${quoteName(overridable[0] ?? '')}, …), so callers can override them and they are not treated as constants; set overridableInitializers to "freeze" if nobody does`,
          ],
    details: {
      opset: { from: upgrade.from, to: upgrade.to, nodesRewritten: upgrade.changed },
      nodes: { before: nodesBefore, after: model.graph.nodes.length },
      initializersFrozen: frozen,
      initializersShared: shared,
      ...counts,
    },
  };
}

/**
 * ONNX Runtime 1.30 has the vectorized AveragePool for opsets below 19 only: 3x3, stride 2 on 8x64x56x56 takes 0.5 ms there and
 * 0.9 ms from 19 on; a ShuffleNet takes 1.9 and 2.2 ms.
 */
function bestOpset(model: Model): number {
  for (const graph of withSubgraphs(model.graph)) {
    if (graph.nodes.some((node) => node.opType === 'AveragePool' && node.domain === '')) return 18;
  }
  return DEFAULT_OPSET;
}

async function oneRound(
  model: Model,
  options: Options,
  { context, skipped, counts }: { context: PassContext; skipped: Skipped[]; counts: Record<string, number> },
): Promise<number> {
  let changes = 0;
  const count = (what: string, times: number): void => {
    counts[what] = (counts[what] ?? 0) + times;
    changes += times;
  };
  count('graphsSorted', sortTopologically(model.graph));
  for (const scope of scopesOf(model)) count('constantsLifted', liftConstants(scope, skipped));
  const workspace = workspaceOf(model);
  const limits = { valueBytes: options.constantFoldBytes };
  const keepDropout = options.foldBatchNormalization === false;
  for (const scope of scopesOf(model)) {
    count('identitiesRemoved', removeIdentities(scope, workspace, skipped, { keepDropout }));
    count('constantsFolded', await foldConstants(scope, workspace, context, { limits, skipped }));
    count('biasesFolded', foldBiases(scope, workspace));
    if (options.foldBatchNormalization !== false) {
      const reasons: Skipped[] = [];
      count('batchNormalizationsFolded', foldBatchNormalizations(scope, workspace, reasons));
      skipped.push(...reasons);
    }
    count('deadCodeRemoved', removeDeadCode(scope));
  }
  return changes;
}

function workspaceOf(model: Model): Workspace {
  let types: TypeTable | undefined;
  // Steps of one round keep the type of every name that survives them, so one snapshot serves a round.
  const table = (): TypeTable => (types ??= inferTypes(model));
  return {
    model,
    names: new NameScope(model.graph),
    overridable: overridableInitializers(model),
    typeOf: ({ graph }, name) => table().of(graph, name),
    integersOf: ({ graph }, name) => table().constant(graph, name),
  };
}

/** Takes the inputs that only offer to override an initializer off the interface. */
function freezeInitializers(model: Model): number {
  const overridable = overridableInitializers(model);
  if (overridable.size > 0) model.graph.inputs = model.graph.inputs.filter((input) => !overridable.has(input.name));
  return overridable.size;
}
