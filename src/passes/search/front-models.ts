import type { Found } from './conclude.ts';
import type { Tried } from './run-search.ts';

/** Models of a front at most: each is a file of the job. */
export const MAX_FRONT = 256;
/** Bytes of their files together, at most: all of them are in memory when the search ends. */
export const MAX_FRONT_BYTES = 256 * 2 ** 20;

/**
 * Candidates besides the best one whose models are artifacts: the front, and the best one if there were no limits. What does not
 * fit is said.
 */
export function frontModels(
  { best, front, bestOverall }: Found,
  keepFront: number,
): { readonly others: readonly Tried[]; readonly warnings: readonly string[] } {
  const rest = front.filter(({ index }) => index !== best.index);
  const others: Tried[] = [];
  let bytes = 0;
  for (const candidate of rest.slice(0, keepFront)) {
    bytes += candidate.figures.bytes ?? 0;
    if (bytes > MAX_FRONT_BYTES) break;
    others.push(candidate);
  }
  const left = rest.length - others.length;
  const isAsked = others.length < keepFront || keepFront === MAX_FRONT;
  const warnings =
    left > 0 && isAsked
      ? [
          `${left} of ${rest.length} further Pareto points are no artifacts: ${MAX_FRONT} of them, and ${MAX_FRONT_BYTES / 2 ** 20} MiB together, are the most; the models of trials that ran as jobs are with these jobs`,
        ]
      : [];
  const isThere = [best, ...others].some(({ index }) => index === bestOverall.index);
  return { others: isThere || keepFront === 0 ? others : [...others, bestOverall], warnings };
}
