import { elementCount } from '../../onnx/nd-array.ts';
import type { InputMoments } from './input-covariance.ts';
import { layerMacs, type DenseLayer } from './layers.ts';
import type { RankRule } from './options.ts';
import type { Variant } from './svd-variant.ts';
import { TuckerDecomposition, type TuckerRanks } from './tucker-decomposition.ts';

interface Pair extends TuckerRanks {
  readonly macs: number;
  readonly parameters: number;
  readonly loss: number;
}

/**
 * The Tucker form of a convolution as a list of pairs of ranks, cheapest first, each more faithful than the one before: what
 * choosing a rank chooses from. For a rule that names a rank, that one alone.
 *
 * @returns why there is none, in words
 */
export function tuckerVariant(layer: DenseLayer, moments: InputMoments | undefined, rule: RankRule): Variant | string {
  const obstacle = tuckerObstacle(layer);
  if (obstacle !== undefined) return obstacle;
  const decomposition = new TuckerDecomposition(layer, moments);
  const pairs = rule.by === 'rank' ? [namedPair(layer, decomposition, rule.rank)] : frontier(layer, decomposition);
  const at = (rank: number): Pair => pairs[rank - 1] ?? { input: 0, output: 0, macs: 0, parameters: 0, loss: 1 };
  return {
    kind: 'tucker',
    fullRank: pairs.length,
    loss: Float64Array.of(1, ...pairs.map(({ loss }) => loss)),
    macs: (rank) => at(rank).macs,
    parameters: (rank) => at(rank).parameters,
    ranks: (rank) => ({ input: at(rank).input, output: at(rank).output }),
    build: (rank) => decomposition.build(at(rank)),
  };
}

/** Why a layer has no Tucker form, in words. */
export function tuckerObstacle({ kind, kernel }: DenseLayer): string | undefined {
  if (kind !== 'Conv') return `${kind} has two modes only: use factorize.svd`;
  return elementCount(kernel) === 1 ? 'a 1x1 convolution has two modes only: use factorize.svd' : undefined;
}

function namedPair(layer: DenseLayer, decomposition: TuckerDecomposition, rank: number): Pair {
  const ofMode = (size: number): number => Math.min(Math.max(rank < 1 ? Math.round(rank * size) : rank, 1), size);
  return pairOf(layer, decomposition, { input: ofMode(layer.inputs), output: ofMode(layer.outputs) });
}

function frontier(layer: DenseLayer, decomposition: TuckerDecomposition): Pair[] {
  const pairs: Pair[] = [];
  for (let input = 1; input <= layer.inputs; input += 1) {
    for (let output = 1; output <= layer.outputs; output += 1) {
      const pair = pairOf(layer, decomposition, { input, output });
      if (pair.macs < layerMacs(layer) && pair.parameters < layer.weight.length) pairs.push(pair);
    }
  }
  pairs.sort((a, b) => a.macs - b.macs || a.loss - b.loss);
  let best = Infinity;
  const frontier = pairs.filter(({ loss }) => {
    const isBetter = loss < best;
    if (isBetter) best = loss;
    return isBetter;
  });
  // The whole layer, so that a rule no cheaper pair meets is seen not to pay.
  return [...frontier, pairOf(layer, decomposition, { input: layer.inputs, output: layer.outputs })];
}

function pairOf(layer: DenseLayer, decomposition: TuckerDecomposition, ranks: TuckerRanks): Pair {
  const { inputs, outputs, kernel, positions = 1 } = layer;
  const { input, output } = ranks;
  const window = elementCount(kernel);
  const inputPositions = positions * positionsRatio(layer);
  return {
    ...ranks,
    macs: inputPositions * inputs * input + positions * output * (input * window + outputs),
    parameters: inputs * input + output * (input * window + outputs),
    loss: decomposition.loss(ranks),
  };
}

/** Places of the input to one of the output: the first 1x1 is applied to each of them. */
function positionsRatio({ node, kernel, inputShape, outputShape }: DenseLayer): number {
  const strides = node.ints('strides') ?? kernel.map(() => 1);
  return kernel.reduce((product, _, axis) => {
    const [from, to] = [inputShape?.[axis + 2], outputShape?.[axis + 2]];
    return product * (from !== undefined && to !== undefined ? from / to : (strides[axis] ?? 1));
  }, 1);
}
