import { partOf } from '../progress-part.ts';
import { conclude } from './conclude.ts';
import { runSearch, type SearchPlan, type SearchRun } from './run-search.ts';

/**
 * A search from its first candidate to its account: what it finds, as many candidates at random beside it where that is asked
 * for, and the models of the best.
 *
 * @throws CompressionError when no candidate succeeded
 */
export async function searchAndConclude({
  plan,
  options: { compareWithRandom, keepFront },
  ...rest
}: {
  readonly plan: SearchPlan;
  readonly options: { readonly compareWithRandom: boolean; readonly keepFront: number };
} & Pick<Parameters<typeof conclude>[0], 'trials' | 'context' | 'adapt'>): Promise<
  Awaited<ReturnType<typeof conclude>> & { readonly run: SearchRun }
> {
  const { trials, context } = rest;
  const share = compareWithRandom ? 0.5 : 1;
  const run = await runSearch(plan, trials, partOf(context, 0, share));
  const random = compareWithRandom ? await runSearch(atRandom(plan), trials, partOf(context, share, 1)) : undefined;
  return { ...(await conclude({ plan, run, random, keepFront, ...rest })), run };
}

/** With nothing that is known of the candidates ahead. */
function atRandom({ initial: _known, ...plan }: SearchPlan): SearchPlan {
  return { ...plan, strategy: 'random', seed: plan.seed + 1 };
}
