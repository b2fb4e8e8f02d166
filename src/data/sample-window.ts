import type { BatchOptions } from './dataset.ts';

/** The samples that `batches` goes over, within what there is. @throws RangeError on a batch size below 1 */
export function sampleWindow(options: BatchOptions, samples: number): { readonly from: number; readonly to: number } {
  if (!Number.isInteger(options.batchSize) || options.batchSize < 1) {
    throw new RangeError(`batchSize must be a whole number above 0, got ${options.batchSize}`);
  }
  const from = Math.max(0, options.from ?? 0);
  return { from, to: Math.max(from, Math.min(options.to ?? samples, samples)) };
}
