import { CompressionError } from '../../../errors.ts';
import { TrainingField } from '../../../schemas/training.ts';
import type { TrainingRunReport } from '../../../schemas/training-report.ts';
import type { Model } from '../../../onnx/model.ts';
import { parametersOf } from '../../../training/parameters.ts';
import type { DataRole, PassContext, PassResult } from '../../pass.ts';
import { applyMasks, describeSparsity, NO_SPEED } from './apply-masks.ts';
import { checkNoneEmpty, chooseMasks, type SparsityPattern } from './choose-masks.ts';
import { readsInputs, pruneOneShot, type OneShotResult } from './one-shot.ts';
import type { PruningOptions } from './options.ts';
import { sparseSidecar, tooLargeForSidecar } from './sparse-sidecar.ts';
import type { WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** What both passes ask of a pruning, besides the pattern. */
export interface PruningRequest {
  readonly options: PruningOptions;
  readonly pattern: SparsityPattern;
  /** What to do about layers that would be emptied, in words. */
  readonly remedy: string;
}

/** The data that a method with its schedule reads. */
export function neededRoles({ method, schedule, training }: PruningOptions): readonly DataRole[] {
  if (readsInputs(method)) return ['calibration'];
  if (schedule.name === 'oneshot') return method === 'snip' ? ['training'] : [];
  const validation = training?.validation ?? { fraction: 0 };
  return 'role' in validation ? ['training', validation.role] : ['training'];
}

/** What makes a pruning with these options impossible on this model, before anything is trained. */
export function whyImpossible(model: Model, options: PruningOptions): string | undefined {
  if (neededRoles(options).includes('training') && parametersOf(model).length === 0) {
    return 'the model has no float weights to train; prune before quantizing';
  }
  return options.sidecar ? tooLargeForSidecar(model) : undefined;
}

interface Outcome extends OneShotResult {
  readonly warnings?: readonly string[];
  readonly training?: readonly TrainingRunReport[];
}

/**
 * Prunes by any method and schedule, and describes what came of it. Changes the model.
 *
 * @param given - what the model has to prune, and what was left out already
 * @throws CompressionError PASS_PRECONDITION naming layers that would be emptied; what training and data throw
 */
export async function runPruning(
  model: Model,
  given: { readonly targets: readonly WeightTarget[]; readonly skipped: PassResult['skipped'] },
  request: PruningRequest,
  context: PassContext,
): Promise<PassResult> {
  const outcome = await prune(model, given.targets, request, context);
  const finish = { skipped: given.skipped, outcome, sidecar: request.options.sidecar, pattern: request.pattern };
  return finishPruning(model, finish, context);
}

/** What a pruning leaves to be told and handed out. */
export interface PrunedModel {
  /** Left out before anything was pruned. */
  readonly skipped: PassResult['skipped'];
  readonly outcome: Outcome;
  /** Whether the sparse file is an artifact. */
  readonly sidecar: boolean;
  readonly pattern?: SparsityPattern;
}

/** The step's report, and the sparse file where it is asked for. */
export async function finishPruning(
  model: Model,
  { skipped, outcome, sidecar, pattern }: PrunedModel,
  context: PassContext,
): Promise<PassResult> {
  const sparse = sidecar ? await sparseSidecar(model, { targets: outcome.pruned, pattern }, context) : undefined;
  const nothing = outcome.pruned.length === 0 ? ['The model has no weight that this step prunes.'] : [NO_SPEED];
  return {
    changes: outcome.changes,
    skipped: [...skipped, ...outcome.skipped],
    warnings: [...nothing, ...(outcome.warnings ?? [])],
    ...(outcome.training === undefined ? {} : { training: outcome.training }),
    ...(sparse === undefined ? {} : { artifacts: [sparse.artifact] }),
    details: {
      ...describeSparsity(model, outcome.pruned),
      ...(sparse === undefined ? {} : { sidecar: sparse.details }),
    },
  };
}

async function prune(
  model: Model,
  targets: readonly WeightTarget[],
  { options, pattern, remedy }: PruningRequest,
  context: PassContext,
): Promise<Outcome> {
  const { method, schedule, gradient, batches } = options;
  const training = options.training ?? TrainingField.parse({});
  if (schedule.name === 'gradual' && !readsInputs(method)) {
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const { pruneWhileTraining } = await import('./train-sparse.ts');
    const { distillation } = options;
    const gradual = { method, pattern, training, distillation, gradient, schedule, remedy };
    return pruneWhileTraining(model, targets, gradual, context);
  }
  if (method === 'snip') {
    if (targets.length === 0) return { changes: 0, pruned: [], skipped: [] };
    const { connectionSensitivity } = await import('./train-sparse.ts');
    const scores = await connectionSensitivity(model, targets, { training, batches }, context);
    const scored = targets.filter(({ name }) => scores.has(name));
    const masks = chooseMasks(scored, scores, pattern);
    checkNoneEmpty(scored, masks, remedy);
    return { changes: applyMasks(model, masks), pruned: scored, skipped: [] };
  }
  if (method === 'movement') throw new CompressionError('INTERNAL', 'movement has no score before training');
  return pruneOneShot(model, targets, { method, pattern, remedy }, context);
}
