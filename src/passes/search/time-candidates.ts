import type { Model } from '../../onnx/model.ts';
import type { PassContext } from '../pass.ts';

/** Time for each model. */
const BUDGET_MS = 500;
/** Models that are timed, the first ones: the sessions of all are open at the same time. */
const MAX_TIMED = 33;

/**
 * Median milliseconds of one sample for each of the first models, timed in turns on the evaluation data; undefined where that has no samples.
 * Estimates chose among the candidates; this is what the final ones really take here.
 */
export async function timeCandidates(
  models: readonly Model[],
  context: PassContext,
): Promise<readonly number[] | undefined> {
  const feeds = context.data.evaluation ?? context.data.calibration;
  if (feeds === undefined || models.length === 0) return undefined;
  const { measureLatencies } = await import('../../evaluation/latency.ts');
  const timed = await measureLatencies(
    context.runtime,
    models.slice(0, MAX_TIMED).map((model) => ({ model })),
    feeds,
    { threads: context.threads, seed: context.seed, budgetMs: BUDGET_MS, signal: context.signal },
  );
  return timed?.map(({ latency }) => latency.p50Ms);
}
