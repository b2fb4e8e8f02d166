import type { Model } from '../../../onnx/model.ts';
import type { Masks, SparsityPattern } from './choose-masks.ts';
import { chooseMasks } from './choose-masks.ts';
import { dataFreeScores, type DataFreeMethod, type Scores } from './element-scores.ts';
import type { WeightTarget } from './weight-targets.ts';

/** Masks by a score that needs nothing but the weights. */
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
