import type { Model } from '../../../onnx/model.ts';
import { parametersOf } from '../../../training/parameters.ts';
import type { FinetuneContext } from '../../../training/finetune.ts';
import type { GradientProbe } from '../../../training/saliency.ts';
import type { ChannelGroup } from '../groups/channel-groups.ts';
import { addByChannel, sumsAlong, type Numbers } from './weight-sums.ts';

export type GradientImportance = 'taylor' | 'hessian';

export function readsGradients(importance: string): importance is GradientImportance {
  return importance === 'taylor' || importance === 'hessian';
}

/**
 * What the loss would lose without a channel, by gradients on training data, over everything trained that goes with the channel:
 * rows, columns, biases, scales and shifts of normalization.
 *
 * `taylor`: (Σ w g)² of each batch, averaged over the batches. Terms of one channel may cancel out: that is what the loss says.
 * `hessian`: Σ w² E[g²], with gradients of single samples: the diagonal of the empirical Fisher information for that of the Hessian.
 *
 * @returns by group; undefined where the loss depends on no trained weight of the group
 * @throws CompressionError DATASET_* for data that cannot be trained on; TRAIN_NO_GRADIENT
 * @see Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, eq. 8
 * @see LeCun et al., "Optimal Brain Damage", NeurIPS 1989, eq. 5
 */
export async function gradientScores(
  importance: GradientImportance,
  model: Model,
  groups: readonly ChannelGroup[],
  { probe, context }: { readonly probe: GradientProbe; readonly context: FinetuneContext },
): Promise<(Float64Array | undefined)[]> {
  // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
  const { gradientProducts, squaredGradientProducts } = await import('../../../training/saliency.ts');
  const read = new Set(groups.flatMap(({ members }) => members.map(({ value }) => value)));
  const names = parametersOf(model).flatMap(({ name }) => (read.has(name) ? [name] : []));
  const { initializers } = model.graph;
  if (importance === 'hessian') {
    const products = await squaredGradientProducts(model, names, probe, context);
    return groupSums(groups, products, (value) => initializers.get(value)?.dims);
  }
  let totals: (Float64Array | undefined)[] = groups.map(() => undefined);
  const batches = await gradientProducts(model, names, probe, {
    ...context,
    read: (products) => {
      const sums = groupSums(groups, products, (value) => initializers.get(value)?.dims);
      totals = sums.map((sum, index) => sum?.map((value, channel) => value ** 2 + (totals[index]?.[channel] ?? 0)));
    },
  });
  return totals.map((total) => total?.map((sum) => sum / batches));
}

/** By group and channel the sum over all its members that have numbers. */
function groupSums(
  groups: readonly ChannelGroup[],
  numbers: ReadonlyMap<string, Numbers>,
  dimsOf: (value: string) => readonly number[] | undefined,
): (Float64Array | undefined)[] {
  const known = new Map<string, Float64Array>();
  return groups.map(({ members, roots }) => {
    let sums: Float64Array | undefined;
    for (const member of members) {
      const { value, axis } = member;
      const [values, dims] = [numbers.get(value), dimsOf(value)];
      if (values === undefined || dims === undefined) continue;
      const key = `${axis} ${value}`;
      const byPosition = known.get(key) ?? sumsAlong(values, { dims, axis, term: 'value' });
      known.set(key, byPosition);
      sums ??= new Float64Array(roots.length);
      addByChannel(sums, member, byPosition);
    }
    return sums;
  });
}
