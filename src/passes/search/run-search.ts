import type { Point, SearchSpace } from '../../search/space.ts';
import type { TrialResult, TrialSpec } from '../../schemas/trial.ts';
import type { PassContext } from '../pass.ts';
import type { TrialRunner } from '../trials.ts';
import { figuresOf, objectivesOf, violationOf, type Figures, type Limits, type ObjectiveName } from './goals.ts';
import { createStrategy, type StrategyName } from './strategies.ts';

/** A candidate: the trial that runs it, or, where figures known ahead rule it out, why it is not run. */
export type Prepared = { readonly spec: TrialSpec } | { readonly figures: Figures; readonly reason: string };

export interface SearchPlan {
  readonly space: SearchSpace;
  readonly strategy: StrategyName;
  readonly objectives: readonly ObjectiveName[];
  readonly constraints: Limits;
  readonly trials: number;
  readonly batch: number;
  readonly seed: number;
  readonly initial?: readonly Point[];
  prepare(point: Point): Prepared;
}

export interface Tried {
  readonly index: number;
  readonly point: Point;
  readonly status: 'succeeded' | 'failed' | 'rejected';
  readonly spec?: TrialSpec;
  readonly result?: TrialResult;
  readonly figures: Figures;
  /** All minimized; NaN where a figure is missing. */
  readonly objectives: readonly number[];
  /** 0: within all limits. */
  readonly violation: number;
  readonly reason?: string;
}

export interface SearchRun {
  readonly tried: readonly Tried[];
  /** It ended before its trials were used up, for its end was asked for. */
  readonly cutShort: boolean;
}

/** Candidates ruled out ahead cost nothing, but not forever. */
const MAX_REJECTED_PER_TRIAL = 50;

/**
 * Asks, runs, tells, until the trials are used up. The same results give the same candidates, so an attempt that is run
 * anew goes through what the earlier ones had and on from there.
 */
export async function runSearch(
  plan: SearchPlan,
  trials: TrialRunner,
  context: Pick<PassContext, 'signal' | 'progress'>,
): Promise<SearchRun> {
  const { space, batch, seed, initial } = plan;
  const strategy = createStrategy(plan.strategy, space, {
    seed,
    trials: plan.trials,
    batch,
    ...(initial === undefined ? {} : { initial }),
  });
  const tried: Tried[] = [];
  let run = 0;
  while (run < plan.trials && tried.length - run < plan.trials * MAX_REJECTED_PER_TRIAL) {
    context.signal.throwIfAborted();
    const asked = strategy.ask(Math.min(batch, plan.trials - run));
    if (asked.length === 0) break;
    const prepared = asked.map((candidate) => ({ candidate, made: plan.prepare(candidate.point) }));
    const specs = prepared.flatMap(({ made }) => ('spec' in made ? [made.spec] : []));
    context.progress(run / plan.trials, `${run} of ${plan.trials} trials`);
    const results = specs.length === 0 ? [] : await trials.run(specs);
    let place = 0;
    const ended: Tried[] = [];
    let missing = false;
    for (const { candidate, made } of prepared) {
      const { index, point } = candidate;
      if ('spec' in made) {
        const result = results[place++];
        if (result === undefined) {
          missing = true;
          continue;
        }
        const figures = figuresOf(result);
        const reason = result.error === undefined ? {} : { reason: `${result.error.code}: ${result.error.message}` };
        ended.push({
          index,
          point,
          status: result.status,
          spec: made.spec,
          result,
          ...judged(figures, plan),
          ...reason,
        });
      } else {
        ended.push({ index, point, status: 'rejected', reason: made.reason, ...judged(made.figures, plan) });
      }
    }
    tried.push(...ended);
    run = tried.filter(({ status }) => status !== 'rejected').length;
    if (missing) return { tried, cutShort: true };
    strategy.tell(ended.map(({ index, objectives, violation }) => ({ index, objectives, violation })));
  }
  return { tried, cutShort: false };
}

function judged(figures: Figures, plan: SearchPlan): Pick<Tried, 'figures' | 'objectives' | 'violation'> {
  return {
    figures,
    objectives: objectivesOf(figures, plan.objectives),
    violation: violationOf(figures, plan.constraints),
  };
}

/** Least violation first, then the first objective, then the others; those that did not succeed are left out. */
export function ranked(tried: readonly Tried[]): readonly Tried[] {
  return tried
    .filter(({ status, objectives }) => status === 'succeeded' && objectives.every(Number.isFinite))
    .sort((a, b) => {
      if (a.violation !== b.violation) return a.violation - b.violation;
      for (const [place, value] of a.objectives.entries()) {
        const other = b.objectives[place] ?? value;
        if (value !== other) return value - other;
      }
      return a.index - b.index;
    });
}
