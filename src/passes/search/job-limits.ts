import { accuracyAfterDrop } from '../../evaluation/accuracy-drop.ts';
import type { Constraints } from '../../schemas/constraints.ts';
import type { Model } from '../../onnx/model.ts';
import type { TrialSpec } from '../../schemas/trial.ts';
import { estimateFloatNs, FloatLatency } from '../cost/float-latency.ts';
import type { PassContext } from '../pass.ts';
import { figuresOf, type Figures, type Limits } from './goals.ts';
import { modelOfTrials, trialsOf } from './trials-of.ts';

/** Drops are differences of shares: rounding, far below one sample, must not miss a limit that the verdict says is met. */
const ROUNDING = 1e-12;

/** The accuracy of the job's model, as candidates have it; a string says why theirs is not that of the result. */
export type InputAccuracy = string | (() => Promise<Pick<Figures, 'accuracy' | 'metric'> | undefined>);

export interface JobLimits {
  /** The step's own, and those of the job that a trial can tell; of two for one figure the tighter. */
  readonly constraints: Limits;
  /** Limits of the job's by an estimate: what has none does not miss them. */
  readonly open: ReadonlySet<keyof Limits>;
  /** What is left to the verdict on the result. */
  readonly warnings: readonly string[];
}

/**
 * The constraints of the job as limits of its search: bytes as they are, the drop of accuracy from what the job's model has, time
 * by the kernel cost table.
 */
export async function jobLimits(
  own: Limits,
  model: Model,
  inputAccuracy: InputAccuracy,
  context: PassContext,
): Promise<JobLimits> {
  const asked: Constraints = context.constraints ?? {};
  const names = Object.entries(asked).flatMap(([name, limit]) => (limit === undefined ? [] : [name]));
  if (names.length === 0) return { constraints: own, open: new Set(), warnings: [] };
  if (context.stepsAhead === true) {
    const warning = `steps follow the search, so ${names.join(', ')} of the job say nothing of its candidates and are judged on the final result alone; give the search constraints of its own`;
    return { constraints: own, open: new Set(), warnings: [warning] };
  }
  const accuracy = await accuracyLimit(asked.maxAccuracyDrop, inputAccuracy);
  const time = timeLimit(asked, model, context);
  const { maxBytes } = asked;
  const isRmse = accuracy.metric === 'rmse';
  const constraints: Limits = {
    ...own,
    ...tighter('minAccuracy', own, accuracy.limit, isRmse ? Math.min : Math.max),
    ...tighter('maxBytes', own, maxBytes, Math.min),
    ...tighter('maxLatencyEstimateMs', own, time.limit, Math.min),
  };
  const isOpen = time.limit !== undefined && own.maxLatencyEstimateMs === undefined;
  return {
    constraints,
    open: new Set(isOpen ? ['maxLatencyEstimateMs'] : []),
    warnings: [accuracy.warning, time.warning].filter((warning) => warning !== undefined),
  };
}

/** By a trial that leaves the model as it is, on the samples that candidates are measured on. */
export function accuracyByTrial(evaluationSamples: number | undefined, context: PassContext): InputAccuracy {
  return async () => {
    const spec: TrialSpec = {
      model: modelOfTrials(context),
      recipe: { version: 1, steps: [{ pass: 'canonicalize' }] },
      measure: 'light',
      seed: context.seed,
      ...(evaluationSamples === undefined ? {} : { evaluationSamples }),
    };
    const [result] = await trialsOf(context).run([spec]);
    return result === undefined ? undefined : figuresOf(result);
  };
}

interface Limited {
  readonly limit?: number;
  readonly warning?: string;
}

async function accuracyLimit(
  maxDrop: number | undefined,
  inputAccuracy: InputAccuracy,
): Promise<Limited & { readonly metric?: string | undefined }> {
  if (maxDrop === undefined) return {};
  const left = (why: string): Limited => ({ warning: `maxAccuracyDrop is judged on the result alone: ${why}` });
  if (typeof inputAccuracy === 'string') return left(inputAccuracy);
  const { accuracy, metric } = (await inputAccuracy()) ?? {};
  if (accuracy === undefined) return left('the accuracy of the input model is not known');
  return { limit: accuracyAfterDrop(metric, accuracy, maxDrop + ROUNDING), metric };
}

function timeLimit({ maxLatencyP50Ms, minSpeedup }: Constraints, model: Model, context: PassContext): Limited {
  const isAsked = maxLatencyP50Ms !== undefined || minSpeedup !== undefined;
  if (isAsked && new FloatLatency(context.costTable).knowsNothing)
    return { warning: 'limits on time are judged on the result alone: the kernel cost table is empty' };
  const limits = maxLatencyP50Ms === undefined ? [] : [maxLatencyP50Ms];
  let warning: string | undefined;
  if (minSpeedup !== undefined) {
    const before = estimateFloatNs(context.costTable, context.input ?? model);
    if (before !== undefined) limits.push(before / 1e6 / minSpeedup);
    else
      warning =
        'minSpeedup is judged on the result alone: the input model has no estimate of its time, which only models in float have';
  }
  return {
    ...(limits.length === 0 ? {} : { limit: Math.min(...limits) }),
    ...(warning === undefined ? {} : { warning }),
  };
}

function tighter(
  name: keyof Limits,
  own: Limits,
  limit: number | undefined,
  ofTwo: (a: number, b: number) => number,
): Limits {
  return limit === undefined ? {} : { [name]: ofTwo(limit, own[name] ?? limit) };
}
