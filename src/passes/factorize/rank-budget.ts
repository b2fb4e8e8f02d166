import { CompressionError } from '../../errors.ts';

/** One way to make a layer cheaper. */
export interface RankPoint<Choice> {
  readonly choice: Choice;
  readonly macs: number;
  /** Share of the layer's energy that is lost, 0..1. */
  readonly loss: number;
}

export interface BudgetLayer<Choice> {
  readonly label: string;
  /** Multiply-accumulates as it is; its loss is 0 then. */
  readonly macs: number;
  readonly points: readonly RankPoint<Choice>[];
}

/**
 * Chooses at most one point a layer so that the model keeps `target` multiply-accumulates: steps along each layer's lower
 * convex hull, those that lose the least per multiply-accumulate first. That is optimal for the sum of the losses up to the last
 * step, which is then made as small as the target lets it be.
 *
 * @param totalMacs - of the whole model; `layers` are some of it
 * @param target - what may be left of it
 * @returns the chosen points by layer index; a layer that stays as it is is absent
 * @throws CompressionError PASS_PRECONDITION when not even the cheapest points reach the target
 */
export function chooseWithinMacs<Choice>(
  layers: readonly BudgetLayer<Choice>[],
  totalMacs: number,
  target: number,
): Map<number, RankPoint<Choice>> {
  const cheapest = layers.map(({ macs, points }) => Math.min(macs, ...points.map((point) => point.macs)));
  const least = layers.reduce((sum, { macs }, i) => sum - macs + (cheapest[i] ?? macs), totalMacs);
  if (least > target) {
    throw new CompressionError(
      'PASS_PRECONDITION',
      `macsRatio ${(target / totalMacs).toFixed(3)} is out of reach: with rank 1 in all ${layers.length} layers that can be factored ` +
        `${(least / totalMacs).toFixed(3)} of the multiply-accumulates are left; ask for more, or exclude less`,
    );
  }
  const steps = greedyPath(layers);
  const chosen = new Map<number, RankPoint<Choice>>();
  let left = totalMacs;
  for (const { layer, to } of steps) {
    if (left <= target) break;
    const current = chosen.get(layer)?.macs ?? layers[layer]?.macs ?? 0;
    const allowed = target - (left - current);
    const enough = (layers[layer]?.points ?? [])
      .filter((point) => point.macs <= allowed && point.macs >= to.macs)
      .sort((a, b) => a.loss - b.loss || a.macs - b.macs)[0];
    const next = enough ?? to;
    chosen.set(layer, next);
    left += next.macs - current;
  }
  return chosen;
}

export interface PathStep<Choice> {
  /** Index of the layer that gets cheaper. */
  readonly layer: number;
  readonly to: RankPoint<Choice>;
}

/**
 * From all layers as they are to the cheapest of each, along their lower convex hulls: the step that loses the least per
 * multiply-accumulate comes first.
 *
 * @param weightOf - what a layer's loss counts for, finite; 1 by default
 */
export function greedyPath<Choice>(
  layers: readonly BudgetLayer<Choice>[],
  weightOf: (layer: number) => number = () => 1,
): readonly PathStep<Choice>[] {
  return layers
    .flatMap(({ macs, points }, layer) =>
      hullSteps(macs, points).map(({ to, price }) => ({ to, layer, price: price * weightOf(layer) })),
    )
    .sort((a, b) => a.price - b.price || a.layer - b.layer);
}

/** The steps of the lower convex hull from (macs, 0) down to the cheapest point, each with its loss per multiply-accumulate. */
function hullSteps<Choice>(
  macs: number,
  points: readonly RankPoint<Choice>[],
): { readonly to: RankPoint<Choice>; readonly price: number }[] {
  const remaining = points.filter((point) => point.macs < macs);
  const steps: { to: RankPoint<Choice>; price: number }[] = [];
  let from = { macs, loss: 0 };
  for (;;) {
    let best: { to: RankPoint<Choice>; price: number } | undefined;
    for (const to of remaining) {
      if (to.macs >= from.macs) continue;
      const price = (to.loss - from.loss) / (from.macs - to.macs);
      if (best === undefined || price < best.price || (price === best.price && to.macs < best.to.macs)) {
        best = { to, price };
      }
    }
    if (best === undefined) return steps;
    steps.push(best);
    from = best.to;
  }
}
