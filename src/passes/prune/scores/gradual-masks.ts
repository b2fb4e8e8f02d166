import type { TrainingState } from '../../../training/training-state.ts';
import type { MaskUpdates } from '../../../training/weight-masks.ts';
import { checkNoneEmpty, chooseMasks, type SparsityPattern } from './choose-masks.ts';
import { ALREADY_ZERO, dataFreeScores, type DataFreeMethod, type Scores } from './element-scores.ts';
import { cubicSparsity } from './schedule.ts';
import type { WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** Methods that can prune while training runs: by the weights as they are, or by a score that training keeps. */
export type GradualMethod = DataFreeMethod | 'snip' | 'movement';

export interface GradualPlan {
  readonly targets: readonly WeightTarget[];
  readonly method: GradualMethod;
  readonly seed: number;
  /** The pattern at the end. */
  readonly pattern: SparsityPattern;
  /** Sparsity that the first masks have. */
  readonly initialSparsity: number;
  /** Updates of the whole run. */
  readonly updates: number;
  /** Shares of the run at which pruning begins and ends, from <= to. */
  readonly from: number;
  readonly to: number;
  /** Updates between two masks. */
  readonly every: number;
  /** What to do about a layer that would be emptied, in words. */
  readonly remedy: string;
}

/**
 * Raises the sparsity along the cubic schedule. Masks are chosen anew each time, from the dense weights: one that was zeroed
 * can come back.
 *
 * @see Zhu & Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017
 */
export class GradualMasks implements MaskUpdates {
  readonly settledAfter: number;
  readonly #plan: GradualPlan;
  readonly #begin: number;

  constructor(plan: GradualPlan) {
    this.#plan = plan;
    const last = Math.max(0, plan.updates - 1);
    this.settledAfter = Math.min(last, Math.round(plan.to * plan.updates));
    this.#begin = Math.min(this.settledAfter, Math.round(plan.from * plan.updates));
  }

  /** @throws CompressionError PASS_PRECONDITION naming layers that the masks of this update would empty */
  beforeUpdate(updates: number, state: TrainingState): void {
    const end = this.settledAfter;
    const begin = this.#begin;
    if (updates < begin || updates > end) return;
    if (updates !== end && (updates - begin) % this.#plan.every !== 0) return;
    const progress = end === begin ? 1 : (updates - begin) / (end - begin);
    const pattern = patternAt(this.#plan, progress);
    const names = stateNames(state);
    const scores = new Map<string, Scores>();
    for (const [order, { name }] of this.#plan.targets.entries()) {
      scores.set(name, this.#scores(name, order, { state, scoreOf: names.scores }));
    }
    const { targets, remedy } = this.#plan;
    const masks = chooseMasks(targets, scores, pattern);
    checkNoneEmpty(targets, masks, remedy, `after ${updates} of ${this.#plan.updates} updates `);
    for (const [name, mask] of masks) {
      const input = names.masks.get(name);
      if (input !== undefined) state.values(input).set(mask);
    }
  }

  #scores(
    name: string,
    order: number,
    { state, scoreOf }: { readonly state: TrainingState; readonly scoreOf: ReadonlyMap<string, string> },
  ): Scores {
    const { method, seed } = this.#plan;
    const weights = state.values(name);
    if (method !== 'snip' && method !== 'movement') return dataFreeScores(method, weights, { seed, order });
    const kept = scoreOf.get(name);
    const scores = kept === undefined ? new Float64Array(weights.length) : Float64Array.from(state.values(kept));
    for (let i = 0; i < scores.length; i += 1) if (weights[i] === 0) scores[i] = ALREADY_ZERO;
    return scores;
  }
}

/** State names of masks and scores, by initializer. */
function stateNames(state: TrainingState): Readonly<Record<'masks' | 'scores', ReadonlyMap<string, string>>> {
  const of = (kind: 'mask' | 'score'): ReadonlyMap<string, string> =>
    new Map(state.tensors.filter((tensor) => tensor.kind === kind).map((tensor) => [tensor.of, tensor.name]));
  return { masks: of('mask'), scores: of('score') };
}

function patternAt({ pattern, initialSparsity }: GradualPlan, progress: number): SparsityPattern {
  if (pattern.kind === 'n-of-m') {
    return { ...pattern, zeros: progress >= 1 ? pattern.zeros : Math.round(cubicSparsity(0, pattern.zeros, progress)) };
  }
  const initial = Math.min(initialSparsity, pattern.sparsity);
  return {
    ...pattern,
    sparsity: progress >= 1 ? pattern.sparsity : cubicSparsity(initial, pattern.sparsity, progress),
  };
}
