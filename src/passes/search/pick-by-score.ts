import { CompressionError, defined } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import type { Point } from '../../search/space.ts';
import { survivors } from '../../search/pareto.ts';
import type { TrialResult, TrialSpec } from '../../schemas/trial.ts';
import { buildArchitecture, type ArchitectureRequest } from '../../zoo/build-architecture.ts';
import type { PassContext } from '../pass.ts';
import { takeNames } from '../replace-model.ts';
import type { TrialRunner } from '../trials.ts';
import type { ArchitectureOptions } from './architecture-options.ts';
import { KeptResults } from './kept-results.ts';
import { sizesOf } from './networks.ts';
import { ProxyScorer } from './proxy-scores.ts';
import { ranked, runSearch, type SearchPlan } from './run-search.ts';

/** Candidates scored for each that is trained, unless the options say otherwise. */
const SCORED_PER_TRIAL = 8;

type Score = Exclude<ArchitectureOptions['proxy'], 'training'>;

interface Scoring {
  readonly model: Model;
  readonly score: Score;
  readonly options: ArchitectureOptions;
  readonly context: PassContext;
}

/** What a zero-cost score found. */
export interface Picked {
  /** To be trained, the best by the score first. */
  readonly points: readonly Point[];
  readonly details: Record<string, unknown>;
}

/**
 * Searches by a zero-cost score in the place of the accuracy, within the step, and picks candidates that are worth training:
 * the best ones, or with several objectives the fronts.
 *
 * @param plan - the search as it is to be trained
 * @throws CompressionError PASS_PRECONDITION where no candidate has a score; what the training data throw
 * @see Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, section 4
 */
export async function pickByScore(plan: SearchPlan, scoring: Scoring, trials: TrialRunner): Promise<Picked> {
  const { score, options, context } = scoring;
  const { earlyStopping: _trains, constraints, ...rest } = plan;
  // A score is no accuracy: what must hold of that is judged by training.
  const { minAccuracy: _trained, ...known } = constraints;
  const candidates = options.proxyCandidates ?? SCORED_PER_TRIAL * plan.trials;
  const scored = new ScoredTrials(
    { ...scoring, concluding: trials.concluding },
    await KeptResults.open(context.checkpoint),
  );
  const { tried } = await runSearch({ ...rest, constraints: known, trials: candidates }, scored, context);
  const usable = ranked(tried);
  if (usable.length === 0 && trials.concluding)
    throw new CompressionError(
      'LIMIT_TIME',
      'search: its end came before one of its candidates was scored; raise deadlineSeconds',
    );
  if (usable.length === 0) {
    const reason = tried.find((one) => one.reason !== undefined)?.reason ?? 'the space is empty';
    throw new CompressionError(
      'PASS_PRECONDITION',
      `search.architecture: none of ${tried.length} candidates has the score "${score}" (the first: ${reason}); take another proxy, or "training"`,
    );
  }
  const picked = survivors(usable, Math.min(plan.trials, usable.length))
    .map(({ outcome }) => outcome)
    .toSorted((a, b) => usable.indexOf(a) - usable.indexOf(b));
  return {
    points: picked.map(({ point }) => point),
    details: {
      score,
      candidates: tried.filter(({ status }) => status !== 'rejected').length,
      scored: usable.length,
      // In the order of the trials.
      scores: picked.map(({ figures }) => figures.accuracy ?? null),
    },
  };
}

/** Trials that take a moment: the accuracy of a candidate is its score with fresh weights. */
class ScoredTrials implements TrialRunner {
  readonly concluding: boolean;
  readonly #of: Scoring;
  readonly #results: KeptResults;
  #scorer: ProxyScorer | undefined;

  constructor(of: Scoring & { readonly concluding: boolean }, results: KeptResults) {
    this.concluding = of.concluding;
    this.#of = of;
    this.#results = results;
  }

  run(specs: readonly TrialSpec[]): Promise<readonly (TrialResult | undefined)[]> {
    return this.#results.of(specs, this.concluding ? undefined : (spec) => this.#score(spec));
  }

  models(): Promise<readonly Model[]> {
    throw new CompressionError('INTERNAL', 'a candidate that was scored only has no model to hand out');
  }

  async #score({ model: request }: TrialSpec): Promise<TrialResult> {
    const { model, score, options, context } = this.#of;
    context.signal.throwIfAborted();
    const network = buildArchitecture(request as ArchitectureRequest, context.seed);
    takeNames(network, model);
    this.#scorer ??= await ProxyScorer.open(network, options.training, context);
    const { scores, absent } = await this.#scorer.scores(network, [score]);
    const value = scores[score];
    if (value === undefined) {
      const message = `it has no score "${score}": ${defined(absent[score], 'the reason')}`;
      return { status: 'failed', error: { code: 'MODEL_UNSUPPORTED', message } };
    }
    return { status: 'succeeded', ...sizesOf(network, context.costTable), metric: score, accuracy: value };
  }
}
