import type { DatasetAccess } from '../dataset.ts';
import { EpochOrder } from './epoch-order.ts';

/** Windows in memory at a time: the one at work, the next one being read, and the one before until it is collected. */
const LIVE_WINDOWS = 3;
/** Neighbouring samples that are read in one go. */
const BLOCK_BYTES = 256 * 1024;
/** Encoded images are decoded side by side within a block. */
const IMAGES_PER_BLOCK = 16;
/** Windows are made of at least so many blocks, or a window would be a stretch of the file. */
const BLOCKS_PER_WINDOW = 16;
/** Row groups are read as a whole, so larger parts of them count as blocks. */
const GROUP_PARTS_PER_WINDOW = 4;

export interface OrderPlan {
  readonly samples: Uint32Array;
  readonly bytesPerSample: number;
  readonly memoryBudgetBytes: number;
  readonly access: DatasetAccess | undefined;
  readonly encoded: boolean;
  /** All samples are in memory. */
  readonly whole: boolean;
  readonly shuffle: boolean;
  readonly seed: number;
}

/** How many samples fit in one window of a budget. */
export function windowSize(memoryBudgetBytes: number, bytesPerSample: number): number {
  return Math.max(1, Math.floor(memoryBudgetBytes / LIVE_WINDOWS / Math.max(1, bytesPerSample)));
}

/** Blocks and windows for a set of training samples. */
export function planOrder(plan: OrderPlan): EpochOrder {
  const { samples, seed, shuffle } = plan;
  const count = samples.length;
  const windowSamples = plan.whole ? count : windowSize(plan.memoryBudgetBytes, plan.bytesPerSample);
  const options = { seed, shuffle, windowSamples };
  if (plan.whole) return new EpochOrder(count, Uint32Array.of(0), options);
  if (typeof plan.access === 'object') {
    const most = Math.max(1, Math.floor(windowSamples / GROUP_PARTS_PER_WINDOW));
    return new EpochOrder(count, groupStarts(samples, plan.access.groups, most), options);
  }
  const wanted = Math.max(
    Math.ceil(BLOCK_BYTES / Math.max(1, plan.bytesPerSample)),
    plan.encoded ? IMAGES_PER_BLOCK : 1,
  );
  const block = Math.max(1, Math.min(wanted, Math.floor(windowSamples / BLOCKS_PER_WINDOW)));
  return new EpochOrder(
    count,
    Uint32Array.from({ length: Math.ceil(count / block) }, (_, i) => i * block),
    options,
  );
}

/** The first position of each group among the samples; groups above `most` samples are cut. */
function groupStarts(samples: Uint32Array, groups: readonly number[], most: number): Uint32Array {
  const starts: number[] = [];
  let group = 0;
  let size = 0;
  for (let position = 0; position < samples.length; position += 1) {
    const sample = samples[position] ?? 0;
    const known = group;
    while (group < groups.length && (groups[group] ?? 0) <= sample) group += 1;
    if (position === 0 || group !== known || size === most) {
      starts.push(position);
      size = 0;
    }
    size += 1;
  }
  return Uint32Array.from(starts);
}
