import { CompressionError } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import { applyMasks } from './apply-masks.ts';
import { checkNoneEmpty, chooseMasks, type Masks, type SparsityPattern } from './choose-masks.ts';
import { dataFreeScores, type DataFreeMethod, type Scores } from './element-scores.ts';
import { FROM_INPUTS, pruneFromInputs, type FromInputsMethod } from './from-inputs.ts';
import type { WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** Methods that prune a trained model at once, without training it. */
type OneShotMethod = DataFreeMethod | FromInputsMethod;

export interface OneShotResult {
  /** How many initializers have other bytes than before. */
  readonly changes: number;
  readonly pruned: readonly WeightTarget[];
  readonly skipped: readonly Skipped[];
}

/**
 * Scores the weights and zeroes the lowest. Changes the model.
 *
 * @param remedy - what to do about layers that would be emptied, in words
 * @throws CompressionError PASS_PRECONDITION naming such layers; DATASET_EMPTY, MODEL_RUN where the method reads data
 */
export async function pruneOneShot(
  model: Model,
  targets: readonly WeightTarget[],
  options: { readonly method: OneShotMethod; readonly pattern: SparsityPattern; readonly remedy: string },
  context: PassContext,
): Promise<OneShotResult> {
  const { method, pattern, remedy } = options;
  if (readsInputs(method)) {
    if (targets.length === 0) return { changes: 0, pruned: [], skipped: [] };
    const { calibration } = context.data;
    if (calibration === undefined) throw new CompressionError('INTERNAL', `${method} got no calibration data`);
    const { runtime, threads, signal, seed } = context;
    const progress = (fraction: number, message?: string): void => context.progress(fraction, message);
    const run = { runtime, threads, signal, seed, progress, feeds: calibration };
    return pruneFromInputs(model, targets, { method, pattern }, run);
  }
  const masks = dataFreeMasks(model, targets, { method, pattern, seed: context.seed });
  checkNoneEmpty(targets, masks, remedy);
  return { changes: applyMasks(model, masks), pruned: targets, skipped: [] };
}

export function readsInputs(method: string): method is FromInputsMethod {
  return FROM_INPUTS.some((one) => one === method);
}

/** The masks that the weights as they are give. */
export function dataFreeMasks(
  model: Model,
  targets: readonly WeightTarget[],
  {
    method,
    seed,
    pattern,
  }: { readonly method: DataFreeMethod; readonly seed: number; readonly pattern: SparsityPattern },
): Masks {
  const scores = new Map<string, Scores>();
  for (const [order, { name }] of targets.entries()) {
    const weights = model.graph.initializers.get(name)?.floats() ?? new Float32Array(0);
    scores.set(name, dataFreeScores(method, weights, { seed, order }));
  }
  return chooseMasks(targets, scores, pattern);
}
