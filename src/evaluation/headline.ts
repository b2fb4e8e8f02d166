import type { Report } from '../schemas/report.ts';
import type { Evaluation } from './evaluate.ts';
import { formatBytes, formatNumber, formatPoints, formatShare } from './format.ts';

/** The outcome in a few plain sentences: what was gained and lost, and whether the job's limits hold. */
export function headlineOf(evaluation: Evaluation, verdict: Report['verdict']): string {
  const limits = {
    met: 'All limits of the job are met.',
    missed: 'A limit of the job is not met.',
    none: '',
  }[verdict];
  return [`${sizePart(evaluation)}${speedPart(evaluation)}.`, `${accuracyPart(evaluation)}.`, limits]
    .filter((sentence) => sentence !== '')
    .join(' ');
}

function sizePart({ comparison: { bytes } }: Evaluation): string {
  const sizes = `${formatBytes(bytes.before)} to ${formatBytes(bytes.after)}`;
  if (bytes.ratio === null || bytes.before === bytes.after)
    return `As large as its input (${formatBytes(bytes.after)})`;
  if (Math.abs(bytes.ratio - 1) < 0.005) return `About as large as its input (${sizes})`;
  return bytes.ratio > 1
    ? `${formatNumber(bytes.ratio)} times smaller (${sizes})`
    : `${formatNumber(1 / bytes.ratio)} times larger (${sizes})`;
}

function speedPart({ comparison: { latency, bytes } }: Evaluation): string {
  if (latency === undefined) return '; speed was not measured';
  const smaller = bytes.after < bytes.before;
  switch (latency.verdict) {
    case 'faster':
      return `${smaller ? ' and' : ', but'} ${formatNumber(latency.speedup)} times as fast`;
    case 'slower':
      return `${smaller ? ', but' : ' and'} slower: it takes ${formatNumber(1 / latency.speedup)} times as long`;
    case 'inconclusive':
      return ', with no measurable difference in speed';
  }
}

function accuracyPart({ comparison: { accuracy, outputs } }: Evaluation): string {
  if (accuracy === undefined) {
    if (outputs?.every(({ note }) => note === 'identical') === true) {
      return 'Accuracy was not measured, but the outputs are identical';
    }
    const cosines = (outputs ?? []).flatMap(({ cosine }) => (cosine === null ? [] : [cosine]));
    if (cosines.length === 0) return 'Accuracy was not measured';
    const least = Math.min(...cosines).toFixed(4);
    const which = cosines.length === 1 ? 'the output has' : 'the least similar output has';
    return `Accuracy was not measured; ${which} a cosine of ${least} to the original (1 is equal)`;
  }
  if (accuracy.metric === 'rmse') {
    const change = `${formatNumber(accuracy.before)} to ${formatNumber(accuracy.after)}`;
    if (!accuracy.significant) return `The root mean squared error did not change significantly (${change})`;
    return `The root mean squared error ${accuracy.difference > 0 ? 'grew' : 'shrank'} from ${change}`;
  }
  const name = accuracy.metric === 'top5' ? 'Top-5 accuracy' : 'Accuracy';
  const values = `${formatShare(accuracy.before)} to ${formatShare(accuracy.after)}`;
  if (!accuracy.significant) return `${name} did not change significantly (${values})`;
  return accuracy.difference < 0
    ? `${name} fell by ${formatPoints(-accuracy.difference)} points (${values})`
    : `${name} rose by ${formatPoints(accuracy.difference)} points (${values})`;
}
