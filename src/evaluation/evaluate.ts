import { z } from 'zod';
import { CompressionError, messageOf } from '../errors.ts';
import { producersOf } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import type { FeedSource } from '../passes/pass.ts';
import type { Session } from '../runtime/session.ts';
import {
  Measurement,
  type BatchLatency,
  type Comparison,
  type LayerReport,
  type OutputComparison,
} from '../schemas/report.ts';
import { compareAccuracy, summarizeAccuracy } from './accuracy-report.ts';
import { measureAccuracy } from './accuracy.ts';
import { changeOf } from './change.ts';
import type { EvaluationContext, NotMeasured, Subject } from './evaluation-context.ts';
import { compareOutputs } from './fidelity.ts';
import { perLayer } from './per-layer.ts';
import { compareLatencies, measureLatencies, type MeasuredLatency } from './latency.ts';
import { measureModel } from './measure-model.ts';
import { OutcomeJson, outcomeFromJson, outcomeToJson, type Outcome } from './outcome.ts';

/** What was measured of the input model before any step ran. Survives in a checkpoint as JSON. */
export interface BaselineEvaluation {
  readonly measurement: Measurement;
  readonly outcome: Outcome;
  readonly notMeasured: readonly NotMeasured[];
}

export const BaselineJson = z.object({
  version: z.literal(1),
  measurement: Measurement,
  outcome: OutcomeJson,
  notMeasured: z.array(z.object({ name: z.string(), reason: z.string() })),
});

export function baselineToJson(baseline: BaselineEvaluation): z.infer<typeof BaselineJson> {
  return {
    version: 1,
    measurement: baseline.measurement,
    outcome: outcomeToJson(baseline.outcome),
    notMeasured: [...baseline.notMeasured],
  };
}

/** @throws CompressionError INTERNAL when the value is not what `baselineToJson` gave */
export function baselineFromJson(value: unknown): BaselineEvaluation {
  const parsed = BaselineJson.safeParse(value);
  if (!parsed.success) {
    throw new CompressionError('INTERNAL', `stored baseline evaluation is damaged: ${z.prettifyError(parsed.error)}`);
  }
  return { ...parsed.data, outcome: outcomeFromJson(parsed.data.outcome) };
}

export interface Evaluation {
  readonly baseline: Measurement;
  readonly result: Measurement;
  readonly comparison: Comparison;
  /** Present where the context names batch sizes. */
  readonly latencyAtBatches?: readonly BatchLatency[];
  readonly layers: readonly LayerReport[];
  readonly notMeasured: readonly NotMeasured[];
  /** Medians of the result's timing blocks, for `judgeConstraints`. */
  readonly resultBlockMedians?: readonly number[];
}

/**
 * Measures the input model: sizes, cost, accuracy. Latency comes later, next to the result's.
 *
 * @throws CompressionError MODEL_LOAD, MODEL_RUN when ONNX Runtime refuses the model; DATASET_LABELS; CANCELED
 */
export async function evaluateBaseline(context: EvaluationContext, subject: Subject): Promise<BaselineEvaluation> {
  const notMeasured: NotMeasured[] = [];
  const measurement = await measureModel(context, subject, 'baseline', notMeasured);
  const outcome = await outcomeOf(context, subject);
  const accuracy = summarizeAccuracy(outcome, context.metric, context.classNames);
  if (!accuracy.ok) notMeasured.push({ name: 'baseline.accuracy', reason: accuracy.reason });
  return {
    measurement: accuracy.ok ? { ...measurement, accuracy: accuracy.value } : measurement,
    outcome,
    notMeasured,
  };
}

async function outcomeOf(context: EvaluationContext, subject: Subject): Promise<Outcome> {
  const { data, signal } = context;
  return withSession(context, subject, async (session) => {
    if (data === undefined) return { kind: 'none', reason: 'the job names no evaluation data' };
    return measureAccuracy(session, data, context.metric, {
      binaryThreshold: binaryThreshold(subject.model),
      ...(signal === undefined ? {} : { signal }),
    });
  });
}

/** Creating the session is part of the check: a file that ONNX Runtime does not load is no result. */
async function withSession<T>(
  context: EvaluationContext,
  subject: Subject,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await context.runtime.createSession({ path: subject.path }, { threads: context.threads });
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

/** A single score is a probability when a Sigmoid made it, else a raw score with 0 between the classes. */
function binaryThreshold(model: Model): number {
  const producers = producersOf(model.graph);
  return model.graph.outputs.some(({ name }) => producers.get(name)?.opType === 'Sigmoid') ? 0.5 : 0;
}

/**
 * Measures the result and compares it with the input model on the same data and threads.
 *
 * @param baseline - with `earlier` what `evaluateBaseline` found, so that it is not measured twice
 * @throws CompressionError as `evaluateBaseline`
 */
export async function evaluate(
  context: EvaluationContext,
  baseline: Subject & { readonly earlier?: BaselineEvaluation },
  result: Subject,
): Promise<Evaluation> {
  const progress = context.progress ?? (() => undefined);
  const before = baseline.earlier ?? (await evaluateBaseline(context, baseline));
  const notMeasured: NotMeasured[] = [...before.notMeasured];

  progress(0, 'measuring the result');
  let afterMeasurement = await measureModel(context, result, 'result', notMeasured);
  const afterOutcome = await outcomeOf(context, result);
  const accuracy = summarizeAccuracy(afterOutcome, context.metric, context.classNames);
  if (accuracy.ok) afterMeasurement = { ...afterMeasurement, accuracy: accuracy.value };
  else notMeasured.push({ name: 'result.accuracy', reason: accuracy.reason });
  const accuracyComparison = compareAccuracy(before.outcome, afterOutcome, context.metric);
  if (!accuracyComparison.ok) notMeasured.push({ name: 'comparison.accuracy', reason: accuracyComparison.reason });

  progress(0.4, 'comparing outputs');
  const outputs = await attempt(context, notMeasured, 'comparison.outputs', (feeds) =>
    compareFidelity(context, baseline, result, feeds),
  );

  progress(0.5, 'timing both models');
  const subjects = [baseline, result];
  const latencies = await attempt(context, notMeasured, 'latency', (feeds) => timeBoth(context, subjects, feeds));
  const [timedBefore, timedAfter] = latencies ?? [];
  let beforeMeasurement = before.measurement;
  if (timedBefore !== undefined) beforeMeasurement = { ...beforeMeasurement, latency: timedBefore.latency };
  if (timedAfter !== undefined) afterMeasurement = { ...afterMeasurement, latency: timedAfter.latency };

  const latencyAtBatches = await timeBatches(context, subjects, notMeasured);

  progress(0.8, 'comparing layers');
  const layers = await compareLayers(context, baseline, result, notMeasured);
  progress(1, 'evaluation done');

  const comparison: Comparison = {
    ...changesOf(beforeMeasurement, afterMeasurement),
    ...(accuracyComparison.ok ? { accuracy: accuracyComparison.value } : {}),
    ...(outputs === undefined || outputs.length === 0 ? {} : { outputs }),
    ...(timedBefore === undefined || timedAfter === undefined
      ? {}
      : { latency: compareLatencies(timedBefore, timedAfter, context.seed) }),
  };
  return {
    baseline: beforeMeasurement,
    result: afterMeasurement,
    comparison,
    ...(latencyAtBatches === undefined ? {} : { latencyAtBatches }),
    layers,
    notMeasured,
    ...(timedAfter === undefined ? {} : { resultBlockMedians: timedAfter.blockMedians }),
  };
}

function changesOf(
  before: Measurement,
  after: Measurement,
): Pick<Comparison, 'bytes' | 'bytesCompressed' | 'parameters' | 'macs' | 'bops' | 'peakActivationBytes'> {
  const bytesCompressed =
    before.compression === after.compression ? changeOf(before.bytesCompressed, after.bytesCompressed) : undefined;
  const parameters = changeOf(before.parameters, after.parameters);
  const macs = changeOf(before.macs, after.macs);
  const bops = changeOf(before.bops, after.bops);
  const peakActivationBytes = changeOf(before.peakActivationBytes, after.peakActivationBytes);
  return {
    bytes: changeOf(before.bytes, after.bytes),
    ...(bytesCompressed === undefined ? {} : { bytesCompressed }),
    ...(parameters === undefined ? {} : { parameters }),
    ...(macs === undefined ? {} : { macs }),
    ...(bops === undefined ? {} : { bops }),
    ...(peakActivationBytes === undefined ? {} : { peakActivationBytes }),
  };
}

/**
 * Runs a measurement on the evaluation data, or on generated inputs. What fails on generated inputs is not measured,
 * with the reason (nobody promised that made-up inputs suit the model); what fails on the client's data is an error.
 */
async function attempt<T>(
  context: EvaluationContext,
  notMeasured: NotMeasured[],
  name: string,
  measure: (feeds: FeedSource) => Promise<T | undefined>,
): Promise<T | undefined> {
  const feeds = context.data ?? context.generated;
  if (feeds === undefined) {
    notMeasured.push({ name, reason: 'there is no evaluation data, and no inputs could be generated for this model' });
    return undefined;
  }
  try {
    const value = await measure(feeds);
    if (value === undefined) notMeasured.push({ name, reason: 'the data has no samples' });
    return value;
  } catch (error) {
    if (context.data !== undefined || !(error instanceof CompressionError) || error.code !== 'MODEL_RUN') throw error;
    notMeasured.push({ name, reason: `the model does not run on generated inputs: ${messageOf(error)}` });
    return undefined;
  }
}

async function compareFidelity(
  context: EvaluationContext,
  baseline: Subject,
  result: Subject,
  feeds: FeedSource,
): Promise<OutputComparison[]> {
  return withSession(context, baseline, (first) =>
    withSession(context, result, (second) =>
      compareOutputs(first, second, feeds, context.signal === undefined ? {} : { signal: context.signal }),
    ),
  );
}

async function timeBoth(
  context: EvaluationContext,
  subjects: readonly Subject[],
  feeds: FeedSource,
  batch = 1,
): Promise<readonly MeasuredLatency[] | undefined> {
  const name = batch === 1 ? 'timing both models' : `timing both models at batch ${batch}`;
  return measureLatencies(
    context.runtime,
    subjects.map(({ path }) => ({ model: { path } })),
    feeds,
    {
      threads: context.threads,
      seed: context.seed,
      batch,
      progress: (fraction) => context.progress?.(0.5 + 0.3 * fraction, name),
      ...(context.latencyBudgetMs === undefined ? {} : { budgetMs: context.latencyBudgetMs }),
      ...(context.signal === undefined ? {} : { signal: context.signal }),
    },
  );
}

/** Times both models at each further batch size; one the model or the data cannot fill is not measured, with the reason. */
async function timeBatches(
  context: EvaluationContext,
  subjects: readonly Subject[],
  notMeasured: NotMeasured[],
): Promise<BatchLatency[] | undefined> {
  if (context.latencyBatches === undefined) return undefined;
  const timed: BatchLatency[] = [];
  for (const batch of context.latencyBatches) {
    const name = `latencyAtBatches.${batch}`;
    const pair = await attempt(context, notMeasured, name, (feeds) => timeBoth(context, subjects, feeds, batch));
    const [before, after] = pair ?? [];
    if (before === undefined || after === undefined) continue;
    const measured = before.latency.batch;
    if (measured === batch) {
      const comparison = compareLatencies(before, after, context.seed);
      timed.push({ batch, baseline: before.latency, result: after.latency, comparison });
    } else {
      notMeasured.push({ name, reason: `the model's batch axis, or the data, gives batches of ${measured}` });
    }
  }
  return timed;
}

async function compareLayers(
  context: EvaluationContext,
  baseline: Subject,
  result: Subject,
  notMeasured: NotMeasured[],
): Promise<LayerReport[]> {
  const models = { baseline: baseline.model, result: result.model };
  const feeds = context.data ?? context.generated;
  const options = {
    threads: context.threads,
    progress: (fraction: number) => context.progress?.(0.8 + 0.2 * fraction, 'comparing layers'),
    ...(context.signal === undefined ? {} : { signal: context.signal }),
  };
  try {
    return await perLayer(context.runtime, models, feeds, options);
  } catch (error) {
    // Both models ran as they are; what fails here is fetching inner values (types that cannot cross into JavaScript, say).
    if (!(error instanceof CompressionError) || !error.code.startsWith('MODEL_')) throw error;
    notMeasured.push({ name: 'layers', reason: `inner values could not be fetched: ${error.message}` });
    return perLayer(context.runtime, models, undefined, options);
  }
}
