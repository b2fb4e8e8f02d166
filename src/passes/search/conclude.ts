import { CompressionError } from '../../errors.ts';
import { encodeModel } from '../../onnx/codec/encode.ts';
import type { Model } from '../../onnx/model.ts';
import { hypervolume } from '../../search/hypervolume.ts';
import { importance } from '../../search/importance.ts';
import { paretoSet } from '../../search/pareto.ts';
import type { PassArtifact, PassContext } from '../pass.ts';
import type { TrialRunner } from '../trials.ts';
import { frontModels } from './front-models.ts';
import type { ObjectiveName } from './goals.ts';
import { timeCandidates } from './time-candidates.ts';
import { ranked, type SearchPlan, type SearchRun, type Tried } from './run-search.ts';

/** The best candidate, and the Pareto points besides. */
export interface Found {
  readonly best: Tried;
  /** By the first objective, whatever the limits say. */
  readonly bestOverall: Tried;
  /** The non-dominated candidates within the limits, or, where none is, of all. By the first objective. */
  readonly front: readonly Tried[];
}

/** @throws CompressionError when there is not one candidate to choose: LIMIT_TIME when the end came too early, else PASS_PRECONDITION */
function findBest(run: SearchRun, objectives: readonly ObjectiveName[]): Found {
  const whole = ranked(run.tried);
  // An end before any candidate had its whole training leaves those that had a part of it.
  const usable = whole.length === 0 && run.cutShort ? ranked(run.tried, 'stopped') : whole;
  const [best] = usable;
  if (best === undefined) throw nothingFound(run, objectives);
  const unlimited = usable.map((candidate) => ({ ...candidate, violation: 0 }));
  const within = paretoSet(usable);
  const front = (within.length > 0 ? within : paretoSet(unlimited)).flatMap((place) => usable[place] ?? []);
  const overall = ranked(unlimited, best.status === 'stopped' ? 'stopped' : 'succeeded')[0]?.index;
  return { best, bestOverall: usable.find(({ index }) => index === overall) ?? best, front };
}

function nothingFound({ tried, cutShort }: SearchRun, objectives: readonly ObjectiveName[]): CompressionError {
  const failed = tried.find(({ reason }) => reason !== undefined);
  const why = failed === undefined ? '' : `; the first that did not: ${failed.reason ?? ''}`;
  if (cutShort)
    return new CompressionError(
      'LIMIT_TIME',
      `search: its end came before one of its candidates had succeeded (${tried.length} had ended)${why}; raise deadlineSeconds, or make candidates cheaper: fewer epochs or samples`,
    );
  const made = tried.filter(({ status }) => status === 'succeeded');
  const missing = objectives.filter((_, place) => made.every((one) => !Number.isFinite(one.objectives[place])));
  const message =
    made.length > 0
      ? `none of ${tried.length} candidates has every figure of the objectives (${missing.join(', ')}); latencyEstimateMs, for one, is known of models in float alone`
      : `none of ${tried.length} candidates succeeded${why}`;
  return new CompressionError('PASS_PRECONDITION', `search: ${message}`);
}

/** Looks the models up and says what was found. @throws CompressionError when no candidate succeeded */
export async function conclude(search: {
  readonly plan: SearchPlan;
  readonly run: SearchRun;
  readonly random?: SearchRun | undefined;
  readonly keepFront: number;
  readonly trials: TrialRunner;
  readonly context: PassContext;
  /** Gives a candidate the interface of the model, where it has one of its own. */
  readonly adapt?: ((candidate: Model) => void) | undefined;
}): Promise<{
  readonly best: Model;
  readonly found: Found;
  readonly artifacts: readonly PassArtifact[];
  /** What was not done, where the end came early, and what of the front is not handed out. */
  readonly warnings: readonly string[];
  readonly details: Record<string, unknown>;
}> {
  const { plan, run, random, keepFront, trials, context } = search;
  const found = findBest(run, plan.objectives);
  const { others, warnings } = frontModels(found, keepFront);
  // All at once: each call may end the attempt.
  const specs = [found.best, ...others].flatMap(({ spec }) => (spec === undefined ? [] : [spec]));
  const [best, ...rest] = await trials.models(specs);
  if (best === undefined) throw new CompressionError('INTERNAL', 'the model of the best candidate is missing');
  for (const model of [best, ...rest]) search.adapt?.(model);
  const times = await timeCandidates([best, ...rest], context);
  const timing = [found.best, ...others].map(({ index }, place) => ({ index, latencyP50Ms: times?.[place] ?? null }));
  const artifacts = rest.map((model, place) => ({
    name: `candidate-${others[place]?.index ?? 0}.onnx`,
    contentType: 'application/octet-stream',
    bytes: encodeModel(model),
  }));
  const details = { ...searchDetails(plan, run, found, random), timing };
  const said = [...notDone(plan, run, random), ...warnings, ...withoutEstimate(plan, run)];
  return { best, found, artifacts, warnings: said, details };
}

function notDone({ trials }: SearchPlan, run: SearchRun, random: SearchRun | undefined): string[] {
  const ended = ({ tried }: SearchRun): string =>
    `${tried.filter(({ status }) => status !== 'rejected').length} of ${trials}`;
  return [
    ...(run.cutShort ? [`the search was ended early: ${ended(run)} candidates had ended`] : []),
    ...(random?.cutShort === true
      ? [`the comparison with random is incomplete: ${ended(random)} candidates at random had ended`]
      : []),
  ];
}

/** Candidates that a limit by an estimate could not judge. */
function withoutEstimate({ open }: SearchPlan, { tried }: SearchRun): string[] {
  if (open?.has('maxLatencyEstimateMs') !== true) return [];
  const made = tried.filter(({ status }) => status === 'succeeded' || status === 'stopped');
  const blind = made.filter(({ figures }) => figures.latencyEstimateMs === undefined).length;
  return blind === 0
    ? []
    : [
        `${blind} of ${made.length} candidates have no estimate of their time, which only models in float have: the job's limits on time did not choose among them, and are judged on the result alone`,
      ];
}

/** The honest account of a search, for its step report. */
function searchDetails(
  plan: SearchPlan,
  run: SearchRun,
  { best, front, bestOverall }: Found,
  random?: SearchRun,
): Record<string, unknown> {
  const { space, objectives } = plan;
  return {
    strategy: plan.strategy,
    seed: plan.seed,
    space: { size: Number.isFinite(space.size) ? space.size : null, dimensions: space.dimensions },
    objectives,
    constraints: plan.constraints,
    cutShort: run.cutShort || random?.cutShort === true,
    best: best.index,
    bestOverall: bestOverall.index,
    front: front.map(({ index }) => index),
    trials: run.tried.map(rowOf),
    ...(objectives.length > 1 ? { hypervolume: hypervolumeOverTime(run.tried) } : {}),
    importance: Object.fromEntries(importance(space, run.tried).map(({ name, share }) => [name, share])),
    ...(random === undefined ? {} : { random: comparison(run, random, objectives) }),
  };
}

function rowOf({ index, point, status, budget, figures, violation, reason }: Tried): Record<string, unknown> {
  return {
    index,
    point,
    status,
    ...(budget === 1 ? {} : { budget }),
    ...figures,
    violation,
    ...(reason === undefined ? {} : { reason }),
  };
}

function usableOf(tried: readonly Tried[]): readonly Tried[] {
  return tried.filter(({ status, objectives }) => status === 'succeeded' && objectives.every(Number.isFinite));
}

/**
 * Of the candidates within the limits after each trial; the reference is the worst value of each objective seen at all.
 *
 * @param seen - trials whose values are the scale: all of those that are to be compared
 */
function hypervolumeOverTime(tried: readonly Tried[], seen = tried): number[] {
  const usable = usableOf(seen);
  const [first] = usable;
  if (first === undefined) return [];
  const reference = first.objectives.map((_, place) =>
    Math.max(...usable.map(({ objectives }) => objectives[place] ?? 0)),
  );
  const smallest = first.objectives.map((_, place) =>
    Math.min(...usable.map(({ objectives }) => objectives[place] ?? 0)),
  );
  const scaled = (objectives: readonly number[]): number[] =>
    objectives.map((value, place) => {
      const [low, high] = [smallest[place] ?? 0, reference[place] ?? 0];
      return high > low ? (value - low) / (high - low) : 0;
    });
  const points: number[][] = [];
  return usableOf(tried).map(({ objectives, violation }) => {
    if (violation === 0) points.push(scaled(objectives));
    // A little beyond the worst, so that points at the edge count.
    return points.length === 0
      ? 0
      : hypervolume(
          points,
          objectives.map(() => 1.1),
        );
  });
}

function comparison(run: SearchRun, random: SearchRun, objectives: readonly ObjectiveName[]): Record<string, unknown> {
  const [own, other] = [ranked(run.tried)[0], ranked(random.tried)[0]];
  return {
    trials: random.tried.filter(({ status }) => status !== 'rejected').length,
    objectives,
    ...(other === undefined ? {} : { best: rowOf(other) }),
    ...(own === undefined ? {} : { found: rowOf(own) }),
    curves: { search: progressOf(run, random, objectives), random: progressOf(random, run, objectives) },
  };
}

/** Hypervolume after each trial on the scale of both runs; with one objective the best within the limits so far. */
function progressOf(
  { tried }: SearchRun,
  other: SearchRun,
  [first, ...others]: readonly ObjectiveName[],
): (number | null)[] {
  if (first === undefined) return [];
  if (others.length > 0) return hypervolumeOverTime(tried, [...tried, ...other.tried]);
  let best: Tried | undefined;
  return usableOf(tried).map((trial) => {
    if (trial.violation === 0 && (best === undefined || smaller(trial, best))) best = trial;
    return best?.figures[first] ?? null;
  });
}

function smaller({ objectives: [a = Infinity] }: Tried, { objectives: [b = Infinity] }: Tried): boolean {
  return a < b;
}
