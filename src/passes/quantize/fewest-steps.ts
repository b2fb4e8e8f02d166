/**
 * The fewest steps, from `first` to `last`, of which an attempt is met, where more steps lose less: `first`, then 1, 2, 4 and so on, then by halves
 * between the last attempt that was not met and the first that was. Undefined where none is, `last` among them. O(2 log last) attempts.
 */
export async function fewestSteps(
  { first, last }: { readonly first: number; readonly last: number },
  attempt: (steps: number) => Promise<{ readonly met: boolean }>,
): Promise<number | undefined> {
  let below = first - 1;
  let at = first;
  while (!(await attempt(at)).met) {
    if (at >= last) return undefined;
    below = at;
    at = Math.min(last, Math.max(1, 2 * at));
  }
  while (at - below > 1) {
    const middle = (below + at) >> 1;
    if ((await attempt(middle)).met) at = middle;
    else below = middle;
  }
  return at;
}

/** How many attempts `fewestSteps` may take. */
export function mostAttempts(last: number): number {
  return 2 + 2 * Math.ceil(Math.log2(Math.max(1, last)));
}
