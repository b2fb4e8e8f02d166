import type { Constraints } from '../schemas/constraints.ts';
import type { z } from 'zod';
import type { Verdict } from '../schemas/job.ts';
import type { Comparison, ConstraintReport, Measurement } from '../schemas/report.ts';
import { accuracyDrop } from './accuracy-drop.ts';
import { formatBytes, formatMs, formatNumber, formatPoints } from './format.ts';
import { bootstrapMedianInterval } from './statistics.ts';

export interface Judgement {
  readonly constraints: ConstraintReport[];
  /** `met`: all are. `missed`: one is not, or the measurement cannot show that it is. `none`: nothing was asked. */
  readonly verdict: z.infer<typeof Verdict>;
}

export interface JudgedNumbers {
  readonly baseline: Measurement;
  readonly result: Measurement;
  readonly comparison: Comparison;
  /** Medians of the result's timing blocks, for the interval of its latency. */
  readonly resultBlockMedians?: readonly number[];
  readonly seed: number;
  /** Nodes that compute in float although the target has integers only; undefined for other targets. */
  readonly floatNodes?: readonly string[];
}

/** Holds the result against what the job asked for. Order: accuracy, size, latency, speed-up, integers only. */
export function judgeConstraints(asked: Constraints, numbers: JudgedNumbers): Judgement {
  const constraints: ConstraintReport[] = [];
  if (asked.maxAccuracyDrop !== undefined) constraints.push(judgeAccuracy(asked.maxAccuracyDrop, numbers));
  if (asked.maxBytes !== undefined) {
    const value = numbers.result.bytes;
    const met = value <= asked.maxBytes;
    constraints.push({
      name: 'maxBytes',
      limit: asked.maxBytes,
      value,
      met,
      explanation: `The result is ${formatBytes(value)}; the limit is ${formatBytes(asked.maxBytes)}.`,
    });
  }
  if (asked.maxLatencyP50Ms !== undefined) constraints.push(judgeLatency(asked.maxLatencyP50Ms, numbers));
  if (asked.minSpeedup !== undefined) constraints.push(judgeSpeedup(asked.minSpeedup, numbers));
  if (numbers.floatNodes !== undefined) constraints.push(judgeFloatNodes(numbers.floatNodes));
  if (constraints.length === 0) return { constraints, verdict: 'none' };
  return { constraints, verdict: constraints.every(({ met }) => met === true) ? 'met' : 'missed' };
}

/** Needs no asking: a target without floating point can run nothing else. */
function judgeFloatNodes(floatNodes: readonly string[]): ConstraintReport {
  const value = floatNodes.length;
  const shown = floatNodes.slice(0, 20).join(', ');
  return {
    name: 'maxFloatNodes',
    limit: 0,
    value,
    met: value === 0,
    explanation:
      value === 0
        ? 'Every node that computes does so in integers, as the target asks.'
        : `${value} nodes compute in float, and the target has integers only: ${shown}${value > 20 ? ' …' : ''}.`,
  };
}

function judgeAccuracy(limit: number, { comparison }: JudgedNumbers): ConstraintReport {
  const name = 'maxAccuracyDrop';
  const accuracy = comparison.accuracy;
  if (accuracy === undefined) {
    return {
      name,
      limit,
      value: null,
      met: null,
      explanation:
        'Accuracy was not measured, so nobody knows whether the limit holds. Name a labelled data set in data.evaluation.',
    };
  }
  if (accuracy.metric === 'rmse') {
    // The limit is a share; for an error in the target's own units that is the relative growth.
    const growth = accuracyDrop('rmse', accuracy.before, accuracy.after);
    const value = Number.isFinite(growth) ? growth : null;
    return {
      name,
      limit,
      value,
      met: value === null ? false : value <= limit,
      explanation:
        value === null
          ? 'The input model had no error at all; the result has some.'
          : `The root mean squared error grew by ${formatNumber(100 * value)} % of the input model's (${formatNumber(accuracy.before)} to ${formatNumber(accuracy.after)}); the limit is ${formatNumber(100 * limit)} %.`,
    };
  }
  // Counts divide into shares with rounding errors far below one sample; a drop of exactly the limit is met.
  const value = -accuracy.difference;
  const met = value <= limit + 1e-12;
  const [low, high] = accuracy.confidenceInterval;
  const within = `95 % interval of the drop ${formatPoints(-high)} to ${formatPoints(-low)} points on ${accuracy.samples} samples`;
  const doubt =
    met === -low <= limit
      ? ''
      : ' The interval reaches past the limit: a larger evaluation set would tell more surely.';
  return {
    name,
    limit,
    value,
    met,
    explanation: `${accuracy.metric} dropped by ${formatPoints(value)} points (${within}); the limit is ${formatPoints(limit)}.${doubt}`,
  };
}

function judgeLatency(limit: number, { result, resultBlockMedians, seed }: JudgedNumbers): ConstraintReport {
  const name = 'maxLatencyP50Ms';
  const latency = result.latency;
  if (latency === undefined) return notTimed(name, limit);
  const [low, high] =
    resultBlockMedians === undefined || resultBlockMedians.length < 4
      ? [latency.p50Ms, latency.p50Ms]
      : bootstrapMedianInterval(resultBlockMedians, seed);
  const value = latency.p50Ms;
  const conclusive = high <= limit || low > limit;
  return {
    name,
    limit,
    value,
    met: conclusive ? value <= limit : null,
    explanation:
      `The median run takes ${formatMs(value)} (95 % interval ${formatMs(low)} to ${formatMs(high)}); the limit is ${formatMs(limit)}.` +
      (conclusive ? '' : ' Inconclusive: the limit lies inside the noise of the measurement.'),
  };
}

function judgeSpeedup(limit: number, { comparison }: JudgedNumbers): ConstraintReport {
  const name = 'minSpeedup';
  const latency = comparison.latency;
  if (latency === undefined) return notTimed(name, limit);
  const [low, high] = latency.confidenceInterval;
  const steady = latency.verdict !== 'inconclusive' || (low <= 1 && high >= 1);
  const conclusive = (steady && low >= limit) || high < limit;
  return {
    name,
    limit,
    value: latency.speedup,
    met: conclusive ? low >= limit : null,
    explanation:
      `The result runs ${formatNumber(latency.speedup)} times as fast as its input (95 % interval ${formatNumber(low)} to ${formatNumber(high)}); the limit is ${formatNumber(limit)}.` +
      (conclusive
        ? ''
        : ` Inconclusive: ${latency.verdict === 'inconclusive' ? latency.reason : 'the limit lies inside the noise of the measurement'}.`),
  };
}

function notTimed(name: 'maxLatencyP50Ms' | 'minSpeedup', limit: number): ConstraintReport {
  return {
    name,
    limit,
    value: null,
    met: null,
    explanation: 'Latency was not measured; see notMeasured for the reason.',
  };
}
