import type { TrainingSource } from '../../data/training/training-source.ts';
import type { NdArray } from '../../onnx/nd-array.ts';

/** Training samples as they come in the first epoch, as far as it has them. */
export async function firstBatches(
  source: TrainingSource,
  samples: number,
  signal: AbortSignal,
): Promise<readonly Readonly<Record<string, NdArray>>[]> {
  const batches: Readonly<Record<string, NdArray>>[] = [];
  let count = 0;
  for await (const { feeds, count: own } of source.epoch(0)) {
    signal.throwIfAborted();
    batches.push(copiedFeeds(feeds));
    count += own;
    if (count >= samples) break;
  }
  return batches;
}

/** The batch's own arrays may be used again for the next one. */
export function copiedFeeds(feeds: Readonly<Record<string, NdArray>>): Readonly<Record<string, NdArray>> {
  return Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, copiedArray(array)]));
}

export function copiedArray(array: NdArray): NdArray {
  return array.type === 'string' ? array : { ...array, data: array.data.slice() };
}
