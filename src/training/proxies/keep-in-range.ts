import { CompressionError } from '../../errors.ts';
import type { Graph } from '../../onnx/graph.ts';
import { describeNode, makeNode, type Node } from '../../onnx/node.ts';
import { StaticTypes } from '../static-types.ts';
import type { ProbeNetwork } from './probe-network.ts';

/** Give values of the size of their (first) input. */
const SIZE_KEEPING = new Set([
  ...['Identity', 'Relu', 'Clip', 'LeakyRelu', 'PRelu', 'MaxPool', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool'],
  ...[
    'Flatten',
    'Reshape',
    'Transpose',
    'Squeeze',
    'Unsqueeze',
    'Slice',
    'Split',
    'Gather',
    'Pad',
    'ReduceMean',
    'Expand',
  ],
]);
/** Do nothing to positive values. */
const RECTIFIERS = new Set(['Relu', 'Clip', 'LeakyRelu', 'PRelu']);
/** Join values, which have to be of one scale. */
const JOINING = new Set(['Add', 'Sum', 'Concat', 'Max']);
const WEIGHTED = new Set(['Conv', 'Gemm', 'MatMul']);

/**
 * Scales a network of positive values, so that they stay near 1 however many layers there are: behind each layer by a power of two
 * (as many as its weights add up to), and where values join, all to the largest scale among them. Every value of the graph times two to
 * its own power is what it would have been; derivatives likewise. Rectifiers are taken out. In place.
 *
 * @returns the power of two of the scores, and the types of the changed graph
 * @throws CompressionError MODEL_UNSUPPORTED for an operator that does not keep factors: softmax, layer normalization, gates
 */
export function keepInRange({ model, b, types, scores }: ProbeNetwork): {
  readonly exponent: number;
  readonly types: StaticTypes;
} {
  const { graph } = model;
  const exponents = new Map<string, number>();
  const exponentOf = (name: string): number => exponents.get(name) ?? 0;
  /** `value`, written as if its power of two were `to`. */
  const rescaled = (value: string, to: number): string => {
    const shift = exponentOf(value) - to;
    return value === '' || shift === 0 ? value : b.op('Mul', [value, b.float('scale', 2 ** shift)]);
  };
  const nodes = graph.nodes;
  graph.nodes = [];
  for (const node of nodes) {
    const isShape = node.outputs.every((name) => types.elementType(name) !== undefined && !types.isFloat(name));
    if (isShape || !node.inputs.some((name) => isData(name, graph))) {
      graph.nodes.push(node);
      continue;
    }
    const [first = '', second = '', ...rest] = node.inputs;
    const [output = ''] = node.outputs;
    if (node.domain === '' && SIZE_KEEPING.has(node.opType)) {
      for (const name of node.outputs) exponents.set(name, exponentOf(first));
      const rectifier = RECTIFIERS.has(node.opType);
      graph.nodes.push(rectifier ? makeNode('Identity', [first], [output], { name: node.name }) : node);
    } else if (node.domain === '' && JOINING.has(node.opType)) {
      const data = node.inputs.filter((name) => isData(name, graph));
      const largest = Math.max(...data.map(exponentOf));
      node.inputs = node.inputs.map((name) => rescaled(name, largest));
      exponents.set(output, largest);
      graph.nodes.push(node);
    } else if (node.domain === '' && WEIGHTED.has(node.opType) && !isData(second, graph)) {
      const before = exponentOf(first);
      const gain = Math.round(Math.log2(gainOf(node, graph)));
      // The bias is added before the scaling, to a value of the input's power.
      node.inputs = [first, second, ...rest.map((bias) => rescaled(bias, before))];
      const raw = b.fresh(`${output}_raw`);
      node.outputs = [raw, ...node.outputs.slice(1)];
      graph.nodes.push(node, makeNode('Mul', [raw, b.float('scale', 2 ** -gain)], [output]));
      exponents.set(output, before + gain);
    } else {
      throw new CompressionError(
        'MODEL_UNSUPPORTED',
        `${describeNode(node)} does not keep factors (twice its input is not twice its output), which synaptic flow needs`,
      );
    }
  }
  return { exponent: exponentOf(scores), types: new StaticTypes(model) };
}

function isData(name: string, graph: Graph): boolean {
  return name !== '' && !graph.initializers.has(name);
}

/** What an input of ones becomes, on average over the outputs. */
function gainOf(node: Node, graph: Graph): number {
  const weight = graph.initializers.get(node.inputs[1] ?? '');
  const dims = weight?.dims ?? [];
  const outputs = node.opType === 'Conv' || node.int('transB', 0) !== 0 ? dims[0] : dims.at(-1);
  let sum = 0;
  for (const value of weight?.floats() ?? []) sum += Math.abs(value);
  return sum > 0 ? sum / (outputs ?? 1) : 1;
}
