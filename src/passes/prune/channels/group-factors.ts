import { CompressionError } from '../../../errors.ts';
import { matchesGlob } from '../../../training/glob.ts';
import type { ChannelGroup } from '../groups/channel-groups.ts';
import { labelOf } from './layer-filter.ts';

/** A layer that stands for its group: the first that makes its channels. */
export function layerOf(group: ChannelGroup): string {
  return makersOf(group)[0] ?? '';
}

function makersOf({ members }: ChannelGroup): readonly string[] {
  const makers = members.filter(({ role }) => role === 'output');
  return (makers.length > 0 ? makers : members).map(({ node }) => labelOf(node));
}

/**
 * By group: how much more than others it loses; 1 where nothing is said. Of several globs that match, the last one counts. Only
 * their proportions matter where the share that goes follows from another target than a ratio.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob matches no layer of any group
 */
export function factorsOf(
  groups: readonly ChannelGroup[],
  factors: Readonly<Record<string, number>>,
  target: string,
): number[] {
  const found = groups.map(() => 1);
  for (const [glob, factor] of Object.entries(factors)) {
    let matched = false;
    for (const [index, group] of groups.entries()) {
      if (!makersOf(group).some((layer) => matchesGlob(glob, layer))) continue;
      found[index] = factor;
      matched = true;
    }
    if (!matched) throw noMatch(glob, groups);
  }
  // A ratio is taken by its word; to meet another target every group that may lose channels can lose all it may.
  const least = target === 'ratio' ? 1 : Math.min(...found.filter((factor) => factor > 0));
  return Number.isFinite(least) ? found.map((factor) => factor / least) : found;
}

const MAX_SHOWN = 20;

function noMatch(glob: string, groups: readonly ChannelGroup[]): CompressionError {
  const names = groups.map(layerOf);
  const more = names.length > MAX_SHOWN ? ` and ${names.length - MAX_SHOWN} more` : '';
  return new CompressionError(
    'RECIPE_NO_MATCH',
    `factors "${glob}" matches no layer that can lose channels; there are: ${names.slice(0, MAX_SHOWN).join(', ')}${more}`,
  );
}
