import { accuracyDrop } from '../../evaluation/accuracy-drop.ts';
import type { Constraints } from '../../schemas/constraints.ts';
import type { TrialResult } from '../../schemas/trial.ts';

/** A point of accuracy weighs as much as a tenth of size or time. */
const ACCURACY_WEIGHT = 10;

/**
 * Sum of the shares by which a trial misses the constraints: 0 when it meets all, with what it measured; 1 for each that it
 * could not measure.
 */
export function nearness(result: TrialResult, constraints: Constraints): number {
  const { maxAccuracyDrop, maxBytes, maxLatencyP50Ms, minSpeedup } = constraints;
  const { accuracy, accuracyBefore, bytes, latencyP50Ms, speedup, metric } = result;
  let missed = 0;
  if (maxAccuracyDrop !== undefined) {
    const known = accuracy !== undefined && accuracyBefore !== undefined;
    const drop = known ? accuracyDrop(metric, accuracyBefore, accuracy) : undefined;
    missed += drop === undefined ? 1 : ACCURACY_WEIGHT * Math.max(0, drop - maxAccuracyDrop);
  }
  missed += atMost(bytes, maxBytes) + atMost(latencyP50Ms, maxLatencyP50Ms);
  if (minSpeedup !== undefined) missed += speedup === undefined ? 1 : Math.max(0, minSpeedup / speedup - 1);
  // What the noise of the measurement leaves open is judged as any job's verdict is.
  return missed === 0 && result.verdict === 'missed' ? 1e-9 : missed;
}

function atMost(value: number | undefined, limit: number | undefined): number {
  if (limit === undefined) return 0;
  return value === undefined ? 1 : Math.max(0, value / limit - 1);
}
