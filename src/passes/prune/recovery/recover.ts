import { CompressionError } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { FeedSource, Skipped } from '../../pass.ts';
import { reconstructLayers, type PrunedFrom, type RecoveryContext } from './reconstruct-layers.ts';
import { reestimateStatistics } from './reestimate-statistics.ts';

/** What is done without training for the accuracy of a model that lost channels. */
export const RECOVERIES = ['none', 'bn-statistics', 'least-squares'] as const;
export type Recovery = (typeof RECOVERIES)[number];

export interface Recovered {
  readonly skipped: readonly Skipped[];
  /** For the step's report. */
  readonly details: Readonly<Record<string, unknown>>;
}

/**
 * Recovers a model by calibration data. Changes `pruned`.
 *
 * @param feeds - undefined where the job named no calibration data
 * @throws CompressionError PASS_PRECONDITION without data; what the methods throw
 */
export async function recover(
  method: Exclude<Recovery, 'none'>,
  pruned: Model,
  from: PrunedFrom,
  { feeds, context }: { readonly feeds: FeedSource | undefined; readonly context: RecoveryContext },
): Promise<Recovered> {
  if (feeds === undefined) {
    throw new CompressionError(
      'PASS_PRECONDITION',
      `recover "${method}" runs the model on calibration data; give data.calibration, or set recover to "none"`,
    );
  }
  const { samples } = feeds;
  if (method === 'bn-statistics') {
    const { layers, skipped } = await reestimateStatistics(pruned, from, feeds, context);
    return { skipped, details: { method, samples, layers } };
  }
  const { layers, skipped } = await reconstructLayers(pruned, from, feeds, context);
  return { skipped, details: { method, samples, layers } };
}
