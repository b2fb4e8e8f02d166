import type { Report } from '../schemas/report.ts';
import type { Evaluation } from './evaluate.ts';
import { formatBytes, formatNumber, formatPoints, formatShare } from './format.ts';

/** The outcome in two plain sentences: what was gained and lost, and whether the job's limits hold. */
export function headlineOf(evaluation: Evaluation, verdict: Report['verdict']): string {
  const parts = [sizePart(evaluation), speedPart(evaluation), accuracyPart(evaluation)].filter((part) => part !== '');
  const limits = {
    met: ' All limits of the job are met.',
    missed: ' A limit of the job is not met.',
    none: '',
  }[verdict];
  return `The result is ${parts.join(', ')}.${limits}`;
}

function sizePart({ comparison: { bytes } }: Evaluation): string {
  const sizes = `${formatBytes(bytes.before)} to ${formatBytes(bytes.after)}`;
  if (bytes.ratio === null || bytes.before === bytes.after)
    return `as large as its input (${formatBytes(bytes.after)})`;
  if (Math.abs(bytes.ratio - 1) < 0.005) return `about as large as its input (${sizes})`;
  return bytes.ratio > 1
    ? `${formatNumber(bytes.ratio)} times smaller (${sizes})`
    : `${formatNumber(1 / bytes.ratio)} times larger (${sizes})`;
}

function speedPart({ comparison: { latency } }: Evaluation): string {
  if (latency === undefined) return 'its speed was not measured';
  switch (latency.verdict) {
    case 'faster':
      return `${formatNumber(latency.speedup)} times as fast`;
    case 'slower':
      return `slower than its input (${formatNumber(latency.speedup)} times its speed)`;
    case 'inconclusive':
      return 'not measurably faster or slower';
  }
}

function accuracyPart({ comparison: { accuracy, outputs } }: Evaluation): string {
  if (accuracy === undefined) {
    const cosines = (outputs ?? []).flatMap(({ cosine }) => (cosine === null ? [] : [cosine]));
    if (cosines.length > 0)
      return `its accuracy was not measured; output similarity (cosine) is ${Math.min(...cosines).toFixed(4)} or more`;
    return 'its accuracy was not measured';
  }
  if (accuracy.metric === 'rmse') {
    const change = `root mean squared error ${formatNumber(accuracy.before)} to ${formatNumber(accuracy.after)}`;
    return accuracy.significant
      ? `and its error changed for real: ${change}`
      : `and its error did not change significantly (${change})`;
  }
  const values = `${formatShare(accuracy.before)} to ${formatShare(accuracy.after)}`;
  if (!accuracy.significant) return `and its accuracy did not change significantly (${values})`;
  return accuracy.difference < 0
    ? `but lost ${formatPoints(-accuracy.difference)} points of accuracy (${values})`
    : `and gained ${formatPoints(accuracy.difference)} points of accuracy (${values})`;
}
