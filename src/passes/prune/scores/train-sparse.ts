import type { Model } from '../../../onnx/model.ts';
import type { TrainingField } from '../../../schemas/training.ts';
import type { TrainingRunReport } from '../../../schemas/training-report.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { parametersOf, selectParameters, separateVectors } from '../../../training/parameters.ts';
import { taughtBy, type Distillation } from '../../distillation-field.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import { checkNoneEmpty, type SparsityPattern } from './choose-masks.ts';
import { dataFreeMasks } from './one-shot.ts';
import { GradualMasks, type GradualMethod } from './gradual-masks.ts';
import { targetLabel, type WeightTarget } from '../../layer-inputs/weight-targets.ts';

export interface GradualOptions {
  readonly method: GradualMethod;
  readonly pattern: SparsityPattern;
  readonly training: TrainingField;
  /** What it learns from the model as it came; false: the labels alone. */
  readonly distillation: Distillation;
  readonly gradient: 'masked' | 'straight-through';
  readonly schedule: {
    readonly initialSparsity: number;
    readonly from: number;
    readonly to: number;
    readonly every: number;
  };
  readonly remedy: string;
}

export interface TrainedPruning {
  readonly pruned: readonly WeightTarget[];
  readonly changes: number;
  readonly skipped: readonly Skipped[];
  readonly warnings: readonly string[];
  readonly training: readonly TrainingRunReport[];
}

/** What a score that training keeps forgets at each step, as in Intel Neural Compressor's snip_momentum. */
const SALIENCY_DECAY = 0.9;

/**
 * Trains the model while its weights are zeroed step by step. Changes the model; its weights end exactly as sparse as asked for.
 *
 * @throws CompressionError PASS_PRECONDITION naming layers that would be emptied: before the training where the weights tell, at an
 *   update where its masks do; what training throws
 */
export async function pruneWhileTraining(
  model: Model,
  given: readonly WeightTarget[],
  options: GradualOptions,
  context: PassContext,
): Promise<TrainedPruning> {
  const [{ finetune }, { applyTrained }, { runReport }, { masksOfZeros }] = await Promise.all([
    import('../../../training/finetune.ts'),
    import('../../../training/trained-values.ts'),
    import('../../../training/run-report.ts'),
    import('../../../training/weight-masks.ts'),
  ]);
  const { method, training, gradient, pattern, schedule } = options;
  separateVectors(model.graph);
  const trained = new Set(selectParameters(parametersOf(model), training).map(({ name }) => name));
  const targets = given.filter(({ name }) => trained.has(name));
  const frozen = given.filter(({ name }) => !trained.has(name));
  if (method !== 'snip' && method !== 'movement') {
    // What training makes of the weights is not known yet; a ranking that empties a layer now would be found only at its end.
    const masks = dataFreeMasks(model, targets, { method, pattern, seed: context.seed });
    checkNoneEmpty(targets, masks, options.remedy, 'ranked by the weights before training, ');
  }
  const zeros = zerosOf(model, targets);
  const initial = new Map<string, Uint8Array>(
    targets.map(({ name, elements }) => [name, new Uint8Array(elements).fill(1)]),
  );
  for (const [name, mask] of masksOfZeros(model)?.initial ?? []) initial.set(name, mask);
  const score =
    method === 'movement'
      ? ({ kind: 'movement' } as const)
      : method === 'snip'
        ? ({ kind: 'saliency', decay: SALIENCY_DECAY } as const)
        : undefined;
  const { outcome, graph, warnings } = await finetune(model, training, finetuneContext(context), {
    ...(await taughtBy(options, copyModel(model), context)),
    sparse: {
      masks: { initial, gradient, score },
      schedule: (updates) =>
        new GradualMasks({
          targets,
          method,
          seed: context.seed,
          pattern,
          updates,
          remedy: options.remedy,
          ...schedule,
          initialSparsity: Math.max(schedule.initialSparsity, zeros),
        }),
    },
  });
  const kept = targets.filter(({ name }) => outcome.values.has(name));
  const final = new Map(kept.map(({ name }) => [name, Uint8Array.from(outcome.values.get(name) ?? [], isNonzero)]));
  checkNoneEmpty(kept, final, options.remedy);
  return {
    changes: applyTrained(model, outcome.values),
    pruned: kept,
    skipped: [
      ...frozen.map((target) => ({
        node: targetLabel(target),
        reason: 'its weight is not trained (trainable, frozen)',
      })),
      ...graph.untouched.map((node) => ({ node, reason: 'the loss does not depend on it' })),
    ],
    warnings,
    training: [runReport('model', outcome)],
  };
}

/**
 * |w * g| summed over some batches of training data, before any training: SNIP. The model is not changed.
 *
 * @see Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR 2019, eq. 6
 */
export async function connectionSensitivity(
  model: Model,
  targets: readonly WeightTarget[],
  { training, batches }: { readonly training: TrainingField; readonly batches: number },
  context: PassContext,
): Promise<ReadonlyMap<string, Float64Array>> {
  const { gradientSaliency } = await import('../../../training/saliency.ts');
  return gradientSaliency(
    model,
    targets.map(({ name }) => name),
    { training, batches },
    finetuneContext(context),
  );
}

function zerosOf(model: Model, targets: readonly WeightTarget[]): number {
  let zeros = 0;
  let total = 0;
  for (const { name } of targets) {
    const values = model.graph.initializers.get(name)?.floats() ?? new Float32Array(0);
    for (const value of values) if (value === 0) zeros += 1;
    total += values.length;
  }
  return total === 0 ? 0 : zeros / total;
}

const isNonzero = (value: number): number => (value === 0 ? 0 : 1);
