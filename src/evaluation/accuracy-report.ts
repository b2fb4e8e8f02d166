import { erfc } from '../numerics/erfc.ts';
import type { Accuracy, AccuracyComparison } from '../schemas/report.ts';
import type { Metric } from './accuracy.ts';
import type { ClassificationOutcome, Outcome, RegressionOutcome } from './outcome.ts';
import { mcNemar, meanInterval, pairedDifferenceInterval, wilsonInterval, type Interval } from './statistics.ts';

/** Either what was measured, or why there is nothing. */
export type Measured<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

const MAX_CLASSES = 1000;
const MAX_CONFUSIONS = 50;

/** The accuracy part of the report. `classNames` are by class index, as an image folder gives them. */
export function summarizeAccuracy(
  outcome: Outcome,
  metric: Metric | undefined,
  classNames?: readonly string[],
): Measured<Accuracy> {
  switch (outcome.kind) {
    case 'none':
      return { ok: false, reason: outcome.reason };
    case 'regression':
      return summarizeRegression(outcome);
    case 'classification':
      return summarizeClassification(outcome, metric === 'top5' ? 'top5' : 'top1', classNames);
  }
}

function summarizeRegression(outcome: RegressionOutcome): Measured<Accuracy> {
  const samples = outcome.squaredErrors.length;
  if (samples === 0) return { ok: false, reason: 'the evaluation data has no samples' };
  if (outcome.nonFiniteSamples > 0) {
    return {
      ok: false,
      reason: `output "${outcome.output}" holds NaN or infinity for ${outcome.nonFiniteSamples} of ${samples} samples, so there is no finite error`,
    };
  }
  const squared = meanInterval(outcome.squaredErrors);
  const confidenceInterval: Interval =
    samples < 2
      ? [Math.sqrt(squared.mean), Math.sqrt(squared.mean)]
      : [Math.sqrt(Math.max(0, squared.interval[0])), Math.sqrt(squared.interval[1])];
  return {
    ok: true,
    value: {
      metric: 'rmse',
      value: Math.sqrt(squared.mean),
      samples,
      confidenceInterval: [...confidenceInterval],
      output: outcome.output,
      nonFiniteSamples: 0,
      meanAbsoluteError: meanInterval(outcome.absoluteErrors).mean,
    },
  };
}

function summarizeClassification(
  outcome: ClassificationOutcome,
  metric: 'top1' | 'top5',
  classNames: readonly string[] | undefined,
): Measured<Accuracy> {
  const samples = outcome.labels.length;
  if (samples === 0) return { ok: false, reason: 'the evaluation data has no samples' };
  if (metric === 'top5' && outcome.inTop5 === undefined) {
    return { ok: false, reason: `top5 says nothing about ${outcome.classes} classes; use top1` };
  }
  const right = correctBy(outcome, 'top1');
  const top1 = rate(countOnes(right), samples);
  const top5 = outcome.inTop5 === undefined ? undefined : rate(countOnes(outcome.inTop5), samples);
  const chosen = metric === 'top5' && top5 !== undefined ? top5 : top1;
  const classes = classTable(outcome, classNames);
  return {
    ok: true,
    value: {
      metric,
      value: chosen.value,
      samples,
      confidenceInterval: chosen.confidenceInterval,
      output: outcome.output,
      nonFiniteSamples: outcome.nonFiniteSamples,
      correct: Math.round(chosen.value * samples),
      top1,
      ...(top5 === undefined ? {} : { top5 }),
      macroF1: classes.macroF1,
      ...(classes.perClass === undefined ? {} : { perClass: classes.perClass }),
      confusions: confusionsOf(outcome),
    },
  };
}

function rate(successes: number, samples: number): { value: number; confidenceInterval: [number, number] } {
  return { value: successes / samples, confidenceInterval: [...wilsonInterval(successes, samples)] };
}

function countOnes(flags: Uint8Array): number {
  let ones = 0;
  for (const flag of flags) ones += flag;
  return ones;
}

/** 1 for each sample that is right by the metric. */
function correctBy(outcome: ClassificationOutcome, metric: 'top1' | 'top5'): Uint8Array {
  if (metric === 'top5' && outcome.inTop5 !== undefined) return outcome.inTop5;
  const right = new Uint8Array(outcome.labels.length);
  for (let i = 0; i < right.length; i += 1) right[i] = Number(outcome.labels[i] === outcome.predictions[i]);
  return right;
}

function classTable(
  outcome: ClassificationOutcome,
  names: readonly string[] | undefined,
): Pick<Accuracy, 'perClass'> & { macroF1: number } {
  const support = new Map<number, number>();
  const predicted = new Map<number, number>();
  const hits = new Map<number, number>();
  const bump = (map: Map<number, number>, key: number): unknown => map.set(key, (map.get(key) ?? 0) + 1);
  for (let i = 0; i < outcome.labels.length; i += 1) {
    const label = outcome.labels[i] ?? -1;
    const guess = outcome.predictions[i] ?? -1;
    bump(support, label);
    if (guess >= 0) bump(predicted, guess);
    if (label === guess) bump(hits, label);
  }
  const occurring = [...new Set([...support.keys(), ...predicted.keys()])].sort((a, b) => a - b);
  let f1Sum = 0;
  const rows = occurring.map((index) => {
    const hit = hits.get(index) ?? 0;
    const have = support.get(index) ?? 0;
    const guessed = predicted.get(index) ?? 0;
    f1Sum += (2 * hit) / (have + guessed);
    const name = names?.[index];
    return {
      class: index,
      ...(name === undefined ? {} : { name }),
      support: have,
      predicted: guessed,
      precision: guessed === 0 ? null : hit / guessed,
      recall: have === 0 ? null : hit / have,
    };
  });
  return { macroF1: f1Sum / rows.length, ...(rows.length > MAX_CLASSES ? {} : { perClass: rows }) };
}

function confusionsOf(outcome: ClassificationOutcome): NonNullable<Accuracy['confusions']> {
  const counts = new Map<string, { label: number; predicted: number; samples: number }>();
  for (let i = 0; i < outcome.labels.length; i += 1) {
    const label = outcome.labels[i] ?? -1;
    const predicted = outcome.predictions[i] ?? -1;
    if (label === predicted || predicted < 0) continue;
    const key = `${label}:${predicted}`;
    const seen = counts.get(key);
    if (seen === undefined) counts.set(key, { label, predicted, samples: 1 });
    else seen.samples += 1;
  }
  return [...counts.values()]
    .sort((a, b) => b.samples - a.samples || a.label - b.label || a.predicted - b.predicted)
    .slice(0, MAX_CONFUSIONS);
}

/**
 * Baseline against result, sample by sample: both outcomes must come from the same samples in the same order.
 * Differences are after - before.
 */
export function compareAccuracy(
  baseline: Outcome,
  result: Outcome,
  metric: Metric | undefined,
): Measured<AccuracyComparison> {
  if (baseline.kind === 'none') return { ok: false, reason: `input model: ${baseline.reason}` };
  if (result.kind === 'none') return { ok: false, reason: `result: ${result.reason}` };
  if (baseline.kind === 'classification' && result.kind === 'classification') {
    if (baseline.labels.length !== result.labels.length) return unequal(baseline.labels.length, result.labels.length);
    return compareClasses(baseline, result, metric === 'top5' ? 'top5' : 'top1');
  }
  if (baseline.kind === 'regression' && result.kind === 'regression') {
    if (baseline.squaredErrors.length !== result.squaredErrors.length) {
      return unequal(baseline.squaredErrors.length, result.squaredErrors.length);
    }
    return compareErrors(baseline, result);
  }
  return { ok: false, reason: `the input model was measured by ${baseline.kind}, the result by ${result.kind}` };
}

const unequal = (before: number, after: number): { ok: false; reason: string } => ({
  ok: false,
  reason: `the input model was measured on ${before} samples, the result on ${after}; they cannot be paired`,
});

function compareClasses(
  baseline: ClassificationOutcome,
  result: ClassificationOutcome,
  metric: 'top1' | 'top5',
): Measured<AccuracyComparison> {
  const samples = baseline.labels.length;
  if (samples === 0) return { ok: false, reason: 'the evaluation data has no samples' };
  if (metric === 'top5' && (baseline.inTop5 === undefined || result.inTop5 === undefined)) {
    return { ok: false, reason: 'top5 needs more than five classes' };
  }
  const first = correctBy(baseline, metric);
  const second = correctBy(result, metric);
  let onlyBaselineCorrect = 0;
  let onlyResultCorrect = 0;
  let agreeing = 0;
  for (let i = 0; i < samples; i += 1) {
    if (first[i] === 1 && second[i] === 0) onlyBaselineCorrect += 1;
    if (first[i] === 0 && second[i] === 1) onlyResultCorrect += 1;
    const guess = baseline.predictions[i] ?? -1;
    // Two missing predictions do not agree: a model that answers NaN throughout must not look faithful.
    if (guess >= 0 && guess === result.predictions[i]) agreeing += 1;
  }
  const test = mcNemar(onlyBaselineCorrect, onlyResultCorrect);
  const before = countOnes(first) / samples;
  const after = countOnes(second) / samples;
  return {
    ok: true,
    value: {
      metric,
      before,
      after,
      difference: (onlyResultCorrect - onlyBaselineCorrect) / samples,
      confidenceInterval: [...pairedDifferenceInterval(onlyBaselineCorrect, onlyResultCorrect, samples)],
      samples,
      pairedTest: { ...test, onlyBaselineCorrect, onlyResultCorrect },
      significant: test.pValue < 0.05,
      agreement: rate(agreeing, samples),
    },
  };
}

function compareErrors(baseline: RegressionOutcome, result: RegressionOutcome): Measured<AccuracyComparison> {
  const samples = baseline.squaredErrors.length;
  for (const [who, outcome] of [['input model', baseline] as const, ['result', result] as const]) {
    const summary = summarizeRegression(outcome);
    if (!summary.ok) return { ok: false, reason: `${who}: ${summary.reason}` };
  }
  if (samples < 2) return { ok: false, reason: 'one sample gives no interval' };
  const differences = result.squaredErrors.map((error, i) => error - (baseline.squaredErrors[i] ?? 0));
  const { mean, interval } = meanInterval(differences);
  const standardError = (interval[1] - interval[0]) / 2 / 1.959963984540054;
  const statistic = standardError === 0 ? 0 : mean / standardError;
  const pValue = standardError === 0 ? (mean === 0 ? 1 : 0) : Math.min(1, erfc(Math.abs(statistic) / Math.SQRT2));
  const before = Math.sqrt(meanInterval(baseline.squaredErrors).mean);
  const after = Math.sqrt(meanInterval(result.squaredErrors).mean);
  return {
    ok: true,
    value: {
      metric: 'rmse',
      before,
      after,
      difference: after - before,
      confidenceInterval: [...interval],
      samples,
      pairedTest: { method: 'paired-mean', statistic, pValue },
      significant: pValue < 0.05,
    },
  };
}
