import { CompressionError } from '../../errors.ts';
import { matchesGlob } from '../quantize/node-filter.ts';
import type { DenseLayer } from './layers.ts';
import type { NamedRanks, RankRule } from './options.ts';

/** A rank for each of some layers; the others stay as they are. */
export interface NamedRule {
  readonly by: 'name';
  readonly rankOf: ReadonlyMap<DenseLayer, number>;
}

/** The rule of one layer; undefined where it stays as it is. */
export function ruleFor<Rule extends RankRule>(
  layer: DenseLayer,
  rule: Rule | NamedRule,
): Rule | RankByNumber | undefined {
  if (rule.by !== 'name') return rule;
  const rank = rule.rankOf.get(layer);
  return rank === undefined ? undefined : { by: 'rank', rank };
}

type RankByNumber = Extract<RankRule, { by: 'rank' }>;

const MAX_SHOWN = 20;

/**
 * The rank of each layer by the first glob that matches.
 *
 * @throws CompressionError RECIPE_NO_MATCH when a glob matches none of the layers
 */
export function namedRule(layers: readonly DenseLayer[], ranks: NamedRanks): NamedRule {
  const matches = (glob: string, { label, kind }: DenseLayer): boolean =>
    matchesGlob(glob, label) || matchesGlob(glob, kind);
  for (const glob of Object.keys(ranks)) {
    if (layers.some((layer) => matches(glob, layer))) continue;
    const more = layers.length > MAX_SHOWN ? ` and ${layers.length - MAX_SHOWN} more` : '';
    const shown = layers.slice(0, MAX_SHOWN).map(({ label }) => label);
    throw new CompressionError(
      'RECIPE_NO_MATCH',
      `ranks "${glob}" matches no layer that can be factored; there are: ${shown.join(', ') || 'none'}${more}`,
    );
  }
  const rankOf = new Map<DenseLayer, number>();
  for (const layer of layers) {
    const rank = Object.entries(ranks).find(([glob]) => matches(glob, layer))?.[1] ?? null;
    if (rank !== null) rankOf.set(layer, rank);
  }
  return { by: 'name', rankOf };
}
