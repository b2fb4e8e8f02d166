import { outerNames, producersOf, type Graph } from '../../onnx/graph.ts';
import type { Node } from '../../onnx/node.ts';
import type { StaticTensor } from '../../training/losses/loss.ts';
import type { FixedNetwork } from '../../training/fixed-network.ts';

/** What a network offers to compare with another. */
export interface Features {
  readonly scores: StaticTensor;
  /** Feature maps [batch, channels, height, width], one a resolution, in the order they are computed. */
  readonly maps: readonly StaticTensor[];
  /** What the last layer makes the scores of, [batch, features]; undefined where the scores are no linear map of a vector. */
  readonly vector: StaticTensor | undefined;
}

const ACTIVATIONS: ReadonlySet<string> = new Set(
  'Relu LeakyRelu PRelu ThresholdedRelu Elu Selu Celu Gelu Clip HardSwish Mish Softplus Softsign Tanh Swish'.split(' '),
);
/** Operators that only move or choose among values: what they make of activations are activations. */
const MOVES: ReadonlySet<string> = new Set(
  'Concat Split Slice Reshape Transpose Gather MaxPool Dropout Identity'.split(' '),
);
const GATES: ReadonlySet<string> = new Set(['Sigmoid', 'HardSigmoid']);

/**
 * Finds the last activation of each resolution. Where there is one that everything behind it is computed from, that one:
 * the end of a residual block, and not the first layer inside the block that follows. O(nodes).
 */
export function featuresOf(network: FixedNetwork): Features {
  const { model, types, scores } = network;
  const tensor = (value: string): StaticTensor => ({ value, shape: types.shape(value) });
  const producers = producersOf(model.graph);
  const narrow = narrowValues(model.graph);
  const activated = new Set<string>();
  const isConstant = (name: string): boolean => name === '' || model.graph.initializers.has(name);
  const best = new Map<string, { value: string; rank: number; order: number }>();
  for (const [order, node] of model.graph.nodes.entries()) {
    const [value = ''] = node.outputs;
    const isActivation =
      ACTIVATIONS.has(node.opType) ||
      isSwish(node, producers) ||
      (MOVES.has(node.opType) && node.inputs.every((input) => activated.has(input) || isConstant(input)));
    if (isActivation) for (const output of node.outputs) activated.add(output);
    const resolution = resolutionOf(value, network);
    if (resolution === undefined) continue;
    const isNarrow = narrow.has(value);
    if (!isActivation && !isNarrow) continue;
    const rank = (isNarrow ? 2 : 0) + (isActivation ? 1 : 0);
    // A stage whose units end in a concatenation has no activation that all goes through; the concatenation serves.
    if (rank >= (best.get(resolution)?.rank ?? 0)) best.set(resolution, { value, rank, order });
  }
  const maps = [...best.values()].sort((a, b) => a.order - b.order).map(({ value }) => tensor(value));
  const vector = vectorBehind(scores, network, producers);
  return { scores: tensor(scores), maps, vector: vector === undefined ? undefined : tensor(vector) };
}

/** `32,32` of a map; undefined for what is no map, or one pixel (squeeze-and-excitation, pooled features). */
function resolutionOf(value: string, { types, model }: FixedNetwork): string | undefined {
  if (value === '' || !types.isFloat(value) || model.graph.initializers.has(value)) return undefined;
  const shape = types.knownShape(value);
  const spatial = shape?.slice(2) ?? [];
  return shape?.length === 4 && spatial.some((size) => size > 1) ? spatial.join() : undefined;
}

/** x * sigmoid(x). */
function isSwish(node: Node, producers: ReadonlyMap<string, Node>): boolean {
  if (node.opType !== 'Mul') return false;
  return node.inputs.some((input, index) => {
    const gate = producers.get(input);
    return gate !== undefined && GATES.has(gate.opType) && gate.inputs[0] === node.inputs[1 - index];
  });
}

/**
 * Values that every path from the inputs to the outputs goes through: when such a value is made, nothing else that came
 * of the inputs is needed any more. The nodes are in topological order.
 */
function narrowValues(graph: Graph): ReadonlySet<string> {
  const lastUse = new Map<string, number>();
  for (const [index, node] of graph.nodes.entries()) for (const name of readsOf(node)) lastUse.set(name, index);
  for (const { name } of graph.outputs) lastUse.set(name, graph.nodes.length);
  const dependent = new Set(graph.inputs.map(({ name }) => name));
  const live = new Set(dependent);
  const narrow = new Set<string>();
  for (const [index, node] of graph.nodes.entries()) {
    const reads = readsOf(node).filter((name) => dependent.has(name));
    if (reads.length === 0) continue;
    for (const name of reads) if (lastUse.get(name) === index) live.delete(name);
    for (const output of node.outputs) {
      if (output === '') continue;
      dependent.add(output);
      if (lastUse.has(output)) live.add(output);
    }
    const [only] = live;
    if (live.size === 1 && only !== undefined && only === node.outputs[0]) narrow.add(only);
  }
  return narrow;
}

function readsOf(node: Node): string[] {
  return [...node.inputs, ...node.subgraphs().flatMap((graph) => [...outerNames(graph)])].filter((name) => name !== '');
}

/** The data input of the last Gemm or MatMul, past the addition of a bias. */
function vectorBehind(
  scores: string,
  { model, types }: FixedNetwork,
  producers: ReadonlyMap<string, Node>,
): string | undefined {
  let node = producers.get(scores);
  const isConstant = (name: string): boolean => model.graph.initializers.has(name);
  while (node !== undefined && ['Add', 'Identity'].includes(node.opType)) {
    const data = node.inputs.filter((name) => !isConstant(name));
    node = data.length === 1 ? producers.get(data[0] ?? '') : undefined;
  }
  if (node === undefined || !['Gemm', 'MatMul'].includes(node.opType)) return undefined;
  const [data = ''] = node.inputs;
  // Scores straight from the input have no feature behind them.
  if (!producers.has(data) || types.knownShape(data)?.length !== 2) return undefined;
  return data;
}
