import type { Change } from '../schemas/report.ts';

/** Before and after of one number; undefined when either was not measured. */
export function changeOf(before: number, after: number): Change;
export function changeOf(before: number | undefined, after: number | undefined): Change | undefined;
export function changeOf(before: number | undefined, after: number | undefined): Change | undefined {
  if (before === undefined || after === undefined) return undefined;
  return { before, after, difference: after - before, ratio: after === 0 ? null : before / after };
}
