import { CompressionError } from '../../errors.ts';
import type { Budget } from '../../search/budget.ts';
import type { Point, SearchSpace } from '../../search/space.ts';
import type { Candidate, Strategy } from '../../search/strategy.ts';
import { successiveHalving } from '../../search/successive-halving.ts';
import type { TrialResult, TrialSpec } from '../../schemas/trial.ts';
import type { PassContext } from '../pass.ts';
import type { TrialRunner } from '../trials.ts';
import {
  figuresOf,
  objectivesOf,
  violationOf,
  withReward,
  type Figures,
  type Limits,
  type ObjectiveName,
  type Reward,
} from './goals.ts';
import { createStrategy, type StrategyName } from './strategies.ts';

/** A candidate: the trial that runs it, or, where figures known ahead rule it out, why it is not run. */
export type Prepared = { readonly spec: TrialSpec } | { readonly figures: Figures; readonly reason: string };

export interface SearchPlan {
  readonly space: SearchSpace;
  readonly strategy: StrategyName;
  readonly objectives: readonly ObjectiveName[];
  readonly constraints: Limits;
  /** Limits that what has no such figure does not miss. */
  readonly open?: ReadonlySet<keyof Limits>;
  readonly reward?: Reward;
  readonly trials: number;
  readonly batch: number;
  readonly seed: number;
  readonly initial?: readonly Point[];
  /** Limits that are counted ahead, for candidates to walk down to. */
  readonly budget?: Budget;
  /** Stops candidates of a batch that are worse than others at a share of their training. */
  readonly earlyStopping?: { readonly minBudget: number; readonly eta?: number };
  /** @param budget - share of the candidate's training, 0..1 */
  prepare(point: Point, budget: number): Prepared;
}

export interface Tried {
  readonly index: number;
  readonly point: Point;
  /** `stopped`: at a part of its budget, since others of its batch were better. */
  readonly status: 'succeeded' | 'failed' | 'rejected' | 'stopped';
  /** Share of its training that it had. */
  readonly budget: number;
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
/** Times that those of a batch that are ruled out ahead are replaced. */
const MAX_REFILLS = 4;

/**
 * Asks, runs, tells, until the trials are used up. The same results give the same candidates, so an attempt that is run
 * anew goes through what the earlier ones had and on from there.
 */
export async function runSearch(
  plan: SearchPlan,
  trials: TrialRunner,
  context: Pick<PassContext, 'signal' | 'progress'>,
): Promise<SearchRun> {
  const { space, batch, seed, initial, budget } = plan;
  const strategy = createStrategy(plan.strategy, space, {
    seed,
    trials: plan.trials,
    batch,
    ...(initial === undefined ? {} : { initial }),
    ...(budget === undefined ? {} : { budget }),
  });
  const tried: Tried[] = [];
  let run = 0;
  while (run < plan.trials && tried.length - run < plan.trials * MAX_REJECTED_PER_TRIAL) {
    context.signal.throwIfAborted();
    const asked = askBatch(strategy, Math.min(batch, plan.trials - run), plan);
    if (asked.ended.length + asked.runnable.length === 0) break;
    context.progress(run / plan.trials, `${run} of ${plan.trials} trials`);
    const { ended, isWhole } = await runBatch(asked, plan, trials);
    tried.push(...ended);
    run = tried.filter(({ status }) => status !== 'rejected').length;
    if (!isWhole) return { tried, cutShort: true };
    checkAccuracy(tried, plan);
    strategy.tell(ended.map(({ index, objectives, violation }) => ({ index, objectives, violation })));
  }
  return { tried, cutShort: false };
}

/** Data without labels, say, give no candidate an accuracy: no need to run them all to know. */
function checkAccuracy(tried: readonly Tried[], { objectives, constraints }: SearchPlan): void {
  const isAsked =
    objectives.includes('accuracy') || objectives.includes('reward') || constraints.minAccuracy !== undefined;
  const measured = tried.filter(({ status }) => status === 'succeeded' || status === 'stopped');
  if (objectives.includes('reward') && measured.some(({ figures }) => figures.metric === 'rmse'))
    throw new CompressionError(
      'PASS_PRECONDITION',
      'search: candidates are measured by rmse, an error, and "reward" multiplies an accuracy, the more the better; take "accuracy" (for rmse the less the better) and the figure of the reward as objectives',
    );
  if (!isAsked || measured.length === 0 || measured.some(({ figures }) => figures.accuracy !== undefined)) return;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `search: none of the first ${measured.length} candidates has an accuracy, which objectives or constraints go by: the evaluation data needs labels, and a metric other than none`,
  );
}

interface Batch {
  readonly ended: readonly Tried[];
  /** All have ended: none is missing because the search has to conclude. */
  readonly isWhole: boolean;
}

interface Asked {
  readonly runnable: readonly Candidate[];
  /** Ruled out ahead. */
  readonly ended: readonly Tried[];
}

/**
 * A batch of `size` candidates to run, so that workers have as much to do as the plan says. What is ruled out ahead is replaced, a few times over: where
 * hardly anything is allowed, or nothing of the first draw, the strategy has to be told where not to look.
 */
function askBatch(strategy: Strategy, size: number, plan: SearchPlan): Asked {
  const runnable: Candidate[] = [];
  const ended: Tried[] = [];
  const sort = (candidates: readonly Candidate[]): void => {
    for (const candidate of candidates) {
      const { index, point } = candidate;
      const made = plan.prepare(point, 1);
      if ('spec' in made) runnable.push(candidate);
      else {
        const { figures, reason } = made;
        ended.push({ index, point, status: 'rejected', reason, budget: 0, ...judged(figures, plan) });
      }
    }
  };
  sort(strategy.ask(size));
  for (let round = 0; round < MAX_REFILLS && runnable.length > 0 && runnable.length < size; round += 1) {
    const candidates = strategy.more(size - runnable.length);
    if (candidates.length === 0) break;
    sort(candidates);
  }
  return { runnable, ended };
}

async function runBatch(asked: Asked, plan: SearchPlan, trials: TrialRunner): Promise<Batch> {
  const ended = new Map(asked.ended.map((tried) => [tried.index, tried]));
  const points = new Map(asked.runnable.map(({ index, point }) => [index, point]));
  const runnable = [...points.keys()];
  let isWhole = true;
  // Without early stopping: one rung at the full budget.
  const halving =
    runnable.length === 0 ? undefined : successiveHalving(runnable, plan.earlyStopping ?? { minBudget: 1 });
  for (let tasks = halving?.tasks() ?? []; tasks.length > 0 && isWhole; tasks = halving?.tasks() ?? []) {
    const specs = tasks.map(({ index, budget }) => specAt(plan, points.get(index) ?? {}, budget));
    const results = await trials.run(specs);
    for (const [place, { index, budget }] of tasks.entries()) {
      const [spec, result] = [specs[place], results[place]];
      if (spec === undefined || result === undefined) {
        isWhole = false;
        continue;
      }
      const figures = figuresOf(result);
      const { error } = result;
      const judgement = judged(figures, plan);
      ended.set(index, {
        index,
        point: points.get(index) ?? {},
        status: result.status === 'failed' ? 'failed' : budget < 1 ? 'stopped' : 'succeeded',
        budget,
        spec,
        result,
        ...judgement,
        ...(error === undefined ? {} : { reason: `${error.code}: ${error.message}` }),
      });
      halving?.tell([{ index, objectives: judgement.objectives, violation: judgement.violation }]);
    }
  }
  return { ended: [...ended.values()].sort((one, other) => one.index - other.index), isWhole };
}

function specAt(plan: SearchPlan, point: Point, budget: number): TrialSpec {
  const made = plan.prepare(point, budget);
  if ('spec' in made) return made.spec;
  throw new CompressionError('INTERNAL', `a candidate is ruled out at ${budget} of its budget only`);
}

function judged(measured: Figures, plan: SearchPlan): Pick<Tried, 'figures' | 'objectives' | 'violation'> {
  const figures = withReward(measured, plan.reward);
  return {
    figures,
    objectives: objectivesOf(figures, plan.objectives),
    violation: violationOf(figures, plan.constraints, plan.open),
  };
}

/** Least violation first, then the first objective, then the others; those of another status are left out. */
export function ranked(tried: readonly Tried[], wanted: 'succeeded' | 'stopped' = 'succeeded'): readonly Tried[] {
  return tried
    .filter(({ status, objectives }) => status === wanted && objectives.every(Number.isFinite))
    .sort((a, b) => {
      if (a.violation !== b.violation) return a.violation - b.violation;
      for (const [place, value] of a.objectives.entries()) {
        const other = b.objectives[place] ?? value;
        if (value !== other) return value - other;
      }
      return a.index - b.index;
    });
}
