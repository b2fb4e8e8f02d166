import { usesOf, type Graph } from '../../../onnx/graph.ts';
import type { Node } from '../../../onnx/node.ts';

const DEFAULT_EPSILON = 1e-5;
/** A BatchNormalization that scales a channel by less leaves nothing to correct a sum with. */
const SMALLEST_SLOPE = 1e-6;

/** The addition that a layer's output goes into, alone or through a BatchNormalization. */
export interface ResidualSum {
  readonly sum: Node;
  /** What is added to the layer's output: the shortcut, as a rule. */
  readonly other: string;
  /** By channel: how much the layer's output must change for the sum to change by 1; 0 where it cannot. */
  readonly factors: Float64Array;
}

/** Undefined where the output has other readers on its way, or goes elsewhere. */
export function residualSum(graph: Graph, layer: Node, channels: number): ResidualSum | undefined {
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const only = (value: string) => {
    const list = uses.get(value) ?? [];
    return list.length === 1 && !outputs.has(value) ? list[0] : undefined;
  };
  let use = only(layer.outputs[0] ?? '');
  let factors: Float64Array | undefined = new Float64Array(channels).fill(1);
  if (use?.node.opType === 'BatchNormalization' && use.inputIndex === 0) {
    factors = inverseSlopes(graph, use.node, channels);
    use = only(use.node.outputs[0] ?? '');
  }
  if (use === undefined || factors === undefined || use.node.domain !== '' || use.node.opType !== 'Add')
    return undefined;
  const other = use.node.inputs[1 - use.inputIndex] ?? '';
  return graph.initializers.has(other) ? undefined : { sum: use.node, other, factors };
}

function inverseSlopes({ initializers }: Graph, node: Node, channels: number): Float64Array | undefined {
  const [scale, variance] = [initializers.get(node.inputs[1] ?? ''), initializers.get(node.inputs[4] ?? '')];
  if (scale?.dataType !== 'float' || variance?.dataType !== 'float') return undefined;
  const [gamma, spread] = [scale.floats(), variance.floats()];
  const epsilon = node.float('epsilon', DEFAULT_EPSILON);
  return Float64Array.from({ length: channels }, (_, channel) => {
    const slope = (gamma[channel] ?? 0) / Math.sqrt((spread[channel] ?? 0) + epsilon);
    return Math.abs(slope) < SMALLEST_SLOPE ? 0 : 1 / slope;
  });
}
