import { defined } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import { OutputComparison, type OutputChange } from '../../output-comparison.ts';
import type { FeedSource } from '../../pass.ts';
import type { Branch } from './branches.ts';
import { cosineScores, type ScoringContext } from './cosine.ts';
import { withoutBranch } from './remove-branch.ts';

/** Compared by `accuracyDrop` first, then by `distance`. */
type MetricScore = Pick<OutputChange, 'accuracyDrop' | 'distance'>;

export interface Choice {
  readonly branch: Branch;
  /** Of the branch on the model it was taken from. */
  readonly score: { readonly cosine: number } | MetricScore;
}

/** Which of the candidates (at least one, in graph order) goes next. Ties go to the first in the graph. */
export type Choose = (model: Model, candidates: readonly Branch[]) => Promise<Choice>;

/** @param model - as the step was given it: what answers are compared with */
export async function chooserOf(
  score: 'cosine' | 'metric',
  model: Model,
  feeds: FeedSource,
  context: ScoringContext,
): Promise<Choose> {
  if (score === 'metric') return lazyGreedy(await OutputComparison.create(model, feeds, context));
  return async (current, candidates) => {
    const scores = await cosineScores(current, candidates, feeds, context);
    let best = 0;
    for (const [at, value] of scores.entries()) if (value < (scores[best] ?? Infinity)) best = at;
    return { branch: defined(candidates[best], 'candidate'), score: { cosine: scores[best] ?? 0 } };
  };
}

/**
 * Each candidate is scored once; after a removal only as many anew as it takes: the one with the best known score is measured
 * again, and goes if it still is the best. Removing layers rarely makes another removal cheaper, so old scores are bounds.
 */
function lazyGreedy(comparison: OutputComparison): Choose {
  const known = new Map<string, MetricScore>();
  return async (model, candidates) => {
    const fresh = new Set<string>();
    const measure = async (branch: Branch): Promise<void> => {
      const name = nameOf(branch);
      const { accuracyDrop, distance } = await comparison.compare(withoutBranch(model, branch));
      known.set(name, { accuracyDrop, distance });
      fresh.add(name);
    };
    for (const branch of candidates) if (!known.has(nameOf(branch))) await measure(branch);
    for (;;) {
      const best = defined(
        candidates.reduce((least, branch) => (isBetter(scoreOf(branch), scoreOf(least)) ? branch : least)),
        'candidate',
      );
      if (fresh.has(nameOf(best))) return { branch: best, score: scoreOf(best) };
      await measure(best);
    }
  };

  function scoreOf(branch: Branch): MetricScore {
    return defined(known.get(nameOf(branch)), 'score of the branch');
  }
}

function nameOf({ sum }: Branch): string {
  return sum.outputs[0] ?? '';
}

function isBetter(a: MetricScore, b: MetricScore): boolean {
  return a.accuracyDrop === b.accuracyDrop ? a.distance < b.distance : a.accuracyDrop < b.accuracyDrop;
}
