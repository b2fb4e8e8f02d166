import type { ChannelChooser } from './choose-channels.ts';

/** Estimated time of the model, in nanoseconds, when so many channels of each group stay. */
export type TimeOfCounts = (kept: readonly number[]) => number;

/** A cut that only saves time has to save this share of the model's; less is within what the estimate is good for. */
const WORTHWHILE = 0.0005;
/** With more groups than this, fewer widths of each are tried: trying takes a walk through the graph each time. */
const MANY_GROUPS = 100;
const FEW_WIDTHS = 16;

/**
 * The numbers of channels of each group that pay, ascending, all channels among them: none is slower than a larger number, the
 * other groups being whole. Numbers that are merely as fast as a larger one pay where something else than time is to be saved.
 *
 * @param onlyFaster - whether a number has to be faster than every larger one
 */
export function payingWidths(
  chooser: ChannelChooser,
  whole: readonly number[],
  timeOf: TimeOfCounts,
  onlyFaster: boolean,
): number[][] {
  const before = timeOf(whole);
  return whole.map((size, index) => {
    const paying = [size];
    let least = before;
    for (const width of thinned(chooser.widths(index), whole.length).reverse()) {
      if (width === size) continue;
      const time = timeOf(whole.with(index, width));
      const limit = onlyFaster ? least - WORTHWHILE * before : least * (1 + 1e-9);
      if (time > limit) continue;
      paying.push(width);
      least = Math.min(least, time);
    }
    return paying.reverse();
  });
}

function thinned(widths: readonly number[], groups: number): number[] {
  const step = groups > MANY_GROUPS ? Math.ceil(widths.length / FEW_WIDTHS) : 1;
  // Counted from the end, where all channels are.
  return widths.filter((_, at) => (widths.length - 1 - at) % step === 0);
}
