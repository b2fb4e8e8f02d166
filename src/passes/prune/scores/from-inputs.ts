import type { Model } from '../../../onnx/model.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { FeedSource, PassContext, Skipped } from '../../pass.ts';
import { chooseMasks, type SparsityPattern } from './choose-masks.ts';
import { MomentCollector, type InputMoments } from '../../layer-inputs/input-moments.ts';
import { rowsObstacle } from '../../layer-inputs/input-rows.ts';
import { sparseGpt, type GptPattern } from './sparse-gpt.ts';
import { wandaScores } from './wanda.ts';
import { groupMatrix, putGroup } from '../../layer-inputs/weight-matrix.ts';
import { targetLabel, type MatrixLayout, type WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** Methods that look at what goes into each layer. */
export const FROM_INPUTS = ['wanda', 'sparsegpt'] as const;
export type FromInputsMethod = (typeof FROM_INPUTS)[number];

export interface FromInputsOptions {
  readonly method: FromInputsMethod;
  readonly pattern: SparsityPattern;
}

/**
 * Prunes layer by layer, in the order of the graph: each sees the inputs that the layers pruned before it make. Layers that
 * read the same value are taken together. Changes the model.
 *
 * @returns what was pruned, and what could not be
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN
 */
export async function pruneFromInputs(
  model: Model,
  targets: readonly WeightTarget[],
  { method, pattern }: FromInputsOptions,
  context: Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'seed' | 'progress'> & { readonly feeds: FeedSource },
): Promise<{
  readonly pruned: readonly WeightTarget[];
  readonly changes: number;
  readonly skipped: readonly Skipped[];
}> {
  const skipped: Skipped[] = [];
  const pruned = targets.filter((target) => {
    const reason = target.nodes.map(rowsObstacle).find((one) => one !== undefined);
    if (reason !== undefined) skipped.push({ node: targetLabel(target), reason });
    return reason === undefined;
  });
  const collector = new MomentCollector(context.feeds, method === 'wanda' ? 'squares' : 'products', context);
  let changes = 0;
  let done = 0;
  try {
    for (const group of byInput(pruned)) {
      const moments = await collector.collect(model, group);
      for (const target of group) {
        const tensor = model.graph.initializers.get(target.name);
        const own = moments.get(target.name);
        if (tensor === undefined || own === undefined) continue;
        const before = tensor.floats();
        const after =
          method === 'wanda' ? byWanda(before, target, own, pattern) : bySparseGpt(before, target.layout, own, pattern);
        done += 1;
        context.progress(done / pruned.length, `pruned ${targetLabel(target)}`);
        if (after.every((value, i) => value === before[i])) continue;
        model.graph.initializers.set(target.name, Tensor.float(target.name, after, tensor.dims));
        changes += 1;
      }
    }
  } finally {
    await collector.release();
  }
  return { pruned, changes, skipped };
}

function byInput(targets: readonly WeightTarget[]): readonly (readonly WeightTarget[])[] {
  const groups = new Map<string, WeightTarget[]>();
  for (const target of targets) {
    const key = target.nodes.map((node) => node.inputs[0] ?? '').join('\n');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [target]);
    else group.push(target);
  }
  return [...groups.values()];
}

function byWanda(
  weights: Float32Array,
  target: WeightTarget,
  moments: InputMoments,
  pattern: SparsityPattern,
): Float32Array {
  const scores = wandaScores(weights, target.layout, moments);
  const mask = chooseMasks([target], new Map([[target.name, scores]]), pattern).get(target.name);
  return weights.map((value, i) => (mask?.[i] === 0 ? 0 : value));
}

function bySparseGpt(
  weights: Float32Array,
  layout: MatrixLayout,
  moments: InputMoments,
  pattern: SparsityPattern,
): Float32Array {
  const after = Float32Array.from(weights);
  for (const [group, products] of moments.groups.entries()) {
    const matrix = groupMatrix(weights, layout, group);
    sparseGpt(matrix, products, gptPattern(pattern, layout));
    putGroup(after, matrix.data, layout, group);
  }
  return after;
}

function gptPattern(pattern: SparsityPattern, { inputs }: MatrixLayout): GptPattern {
  if (pattern.kind === 'n-of-m') return { kind: 'n-of-m', zeros: pattern.zeros, m: pattern.m, inputs };
  return { kind: 'elements', sparsity: pattern.sparsity };
}
