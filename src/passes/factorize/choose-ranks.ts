import { CompressionError } from '../../errors.ts';
import type { Skipped } from '../pass.ts';
import { layerMacs, type DenseLayer } from './layers.ts';
import { ruleFor, type NamedRule } from './named-ranks.ts';
import type { LossBudget, RankRule } from './options.ts';
import { chooseWithinMacs, type BudgetLayer, type RankPoint } from './rank-budget.ts';
import type { Variant } from './svd-variant.ts';

/** A layer with the ways it can be written. */
export interface Candidate {
  readonly layer: DenseLayer;
  readonly variants: readonly Variant[];
}

export interface Decision {
  readonly layer: DenseLayer;
  readonly variant: Variant;
  readonly rank: number;
}

/**
 * Variant and rank of each layer that is worth factoring: fewer multiply-accumulates and fewer parameters than before.
 *
 * @throws CompressionError PASS_PRECONDITION when the target for the whole model is out of reach
 */
export function chooseRanks(
  candidates: readonly Candidate[],
  rule: Exclude<RankRule, LossBudget> | NamedRule,
  totalMacs: number,
): { readonly decisions: readonly Decision[]; readonly skipped: readonly Skipped[] } {
  if (rule.by === 'macs') return withinMacs(candidates, rule.ratio, totalMacs);
  const decisions: Decision[] = [];
  const skipped: Skipped[] = [];
  for (const { layer, variants } of candidates) {
    const own = ruleFor(layer, rule);
    if (own === undefined) continue;
    const options = variants.map((variant) => ({ layer, variant, rank: rankOf(variant, own) }));
    const worth = options.filter((option) => isWorth(option));
    if (worth.length === 0) skipped.push({ node: layer.label, reason: notWorth(options, own) });
    else decisions.push(best(worth, own));
  }
  return { decisions, skipped };
}

function rankOf({ fullRank, loss }: Variant, rule: Exclude<RankRule, LossBudget | { by: 'macs' }>): number {
  if (rule.by === 'rank') {
    const rank = rule.rank < 1 ? Math.round(rule.rank * fullRank) : rule.rank;
    return Math.min(Math.max(rank, 1), fullRank);
  }
  // A sum that rounding left a little below 1 keeps all there is.
  const allowed = 1 - rule.energy + 1e-12;
  for (let rank = 1; rank < fullRank; rank += 1) if ((loss[rank] ?? 0) <= allowed) return rank;
  return fullRank;
}

function isWorth({ layer, variant, rank }: Decision): boolean {
  return variant.macs(rank) < layerMacs(layer) && variant.parameters(rank) < layer.weight.length;
}

/** At given energy the cheapest; at given rank the most faithful. */
function best(options: readonly Decision[], rule: RankRule): Decision {
  const cost = ({ variant, rank }: Decision): number =>
    rule.by === 'energy' ? variant.macs(rank) : (variant.loss[rank] ?? 0);
  return options.reduce((a, b) => (cost(b) < cost(a) ? b : a));
}

function notWorth(options: readonly Decision[], rule: RankRule): string {
  const [first] = options;
  if (first === undefined) return 'there is no way to factor it';
  const { layer, variant, rank } = options.reduce((a, b) => (b.variant.macs(b.rank) < a.variant.macs(a.rank) ? b : a));
  const pair = variant.ranks?.(rank);
  const needed = pair === undefined ? `rank ${rank} of ${variant.fullRank}` : `ranks ${pair.input} and ${pair.output}`;
  const why = rule.by === 'energy' ? `${rule.energy} of the energy needs ${needed}` : needed;
  return (
    `${why}, which saves nothing: ${variant.parameters(rank)} parameters and ${variant.macs(rank)} multiply-accumulates ` +
    `instead of ${layer.weight.length} and ${layerMacs(layer)}`
  );
}

function withinMacs(
  candidates: readonly Candidate[],
  ratio: number,
  totalMacs: number,
): { readonly decisions: readonly Decision[]; readonly skipped: readonly Skipped[] } {
  const { counted, layers, skipped } = budgetLayers(candidates);
  if (counted.length === 0) {
    throw new CompressionError(
      'PASS_PRECONDITION',
      `macsRatio ${ratio} is out of reach: there is no layer to factor; take it out of the recipe, or exclude fewer layers`,
    );
  }
  const chosen = chooseWithinMacs(layers, totalMacs, ratio * totalMacs);
  const decisions: Decision[] = [];
  for (const [index, { layer }] of counted.entries()) {
    const point = chosen.get(index);
    if (point !== undefined) decisions.push(point.choice);
    else
      skipped.push({
        node: layer.label,
        reason: 'other layers give the wanted multiply-accumulates at a smaller loss',
      });
  }
  return { decisions, skipped };
}

/** Layers whose multiply-accumulates can be counted, each with every way that makes it cheaper; the others are skipped. */
export function budgetLayers(candidates: readonly Candidate[]): {
  readonly counted: readonly Candidate[];
  readonly layers: readonly BudgetLayer<Decision>[];
  readonly skipped: Skipped[];
} {
  const skipped: Skipped[] = [];
  const counted = candidates.filter(({ layer }) => {
    if (layer.positions !== undefined) return true;
    skipped.push({
      node: layer.label,
      reason: 'its multiply-accumulates cannot be counted: a size of its input is open',
    });
    return false;
  });
  const layers = counted.map(({ layer, variants }) => ({
    label: layer.label,
    macs: layerMacs(layer),
    points: variants.flatMap((variant) => pointsOf(layer, variant)),
  }));
  return { counted, layers, skipped };
}

function pointsOf(layer: DenseLayer, variant: Variant): RankPoint<Decision>[] {
  const points: RankPoint<Decision>[] = [];
  for (let rank = 1; rank <= variant.fullRank; rank += 1) {
    const choice = { layer, variant, rank };
    if (!isWorth(choice)) continue;
    points.push({ choice, macs: variant.macs(rank), loss: variant.loss[rank] ?? 0 });
  }
  return points;
}
