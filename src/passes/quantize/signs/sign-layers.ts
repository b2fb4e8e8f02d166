import { usesOf } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { Skipped } from '../../pass.ts';
import { filterNodes, nodeLabel } from '../node-filter.ts';
import { channelAxis } from '../placement.ts';
import { normalizedLayers } from '../trained/normalized-layers.ts';
import { outerNodes } from '../trained/outer-nodes.ts';
import type { SignMethod, SignOptions } from './options.ts';

/** A layer whose weights become signs. Known by names: nodes are copied on the way. */
export interface SignLayer {
  /** Its output, behind its normalization where it has one. */
  readonly key: string;
  readonly label: string;
  /** Initializer of the weights as the model came in. */
  readonly weight: string;
  readonly dims: readonly number[];
  /** Axis of the filters; undefined: the weights have one magnitude. */
  readonly axis: number | undefined;
  /** Whether its inputs become signs too. */
  readonly signsInputs: boolean;
}

const WEIGHT_INDEX = 1;

/** The model's layers with constant weights that the options leave, in graph order, and why others stay in float. */
export function signLayers(
  model: Model,
  options: SignOptions,
  isTrained: (normalization: Node) => boolean,
): { readonly layers: readonly SignLayer[]; readonly skipped: readonly Skipped[] } {
  const { graph } = model;
  const kept = filterNodes(graph.nodes, { exclude: options.exclude });
  const overridable = new Set(graph.inputs.map(({ name }) => name));
  const uses = usesOf(graph);
  const pairs = new Map(normalizedLayers(graph).map((pair) => [pair.convolution, pair.normalization]));
  const weighted = graph.nodes.filter(
    (node) => isLayer(node) && (graph.initializers.get(node.inputs[WEIGHT_INDEX] ?? '')?.dims.length ?? 0) >= 2,
  );
  const outer = outerNodes(graph.nodes, new Set(weighted));
  const layers: SignLayer[] = [];
  const skipped: Skipped[] = [];
  for (const node of weighted) {
    const weight = node.inputs[WEIGHT_INDEX] ?? '';
    const tensor = graph.initializers.get(weight);
    const normalization = pairs.get(node);
    const reason =
      tensor === undefined || overridable.has(weight)
        ? `weight "${weight}" may be replaced by a caller`
        : tensor.dataType !== 'float'
          ? `weight "${weight}" is ${tensor.dataType}, not float`
          : (uses.get(weight)?.length ?? 0) > 1
            ? `weight "${weight}" is shared by several nodes`
            : !kept.has(node)
              ? 'excluded by the recipe'
              : options.firstAndLast === 'keep' && outer.has(node)
                ? 'next to an input or output of the model, where signs cost most (firstAndLast: "keep")'
                : obstacle(node, options.method, normalization !== undefined && isTrained(normalization));
    if (reason !== undefined || tensor === undefined) {
      skipped.push({ node: nodeLabel(node), reason: reason ?? 'its weight is gone' });
      continue;
    }
    const perLayer = options.method === 'dorefa' || options.method === 'ttq' || options.method === 'binaryconnect';
    layers.push({
      key: normalization?.outputs[0] ?? node.outputs[0] ?? '',
      label: nodeLabel(node),
      weight,
      dims: tensor.dims,
      axis: perLayer ? undefined : channelAxis(node, tensor.dims.length),
      signsInputs: signsInputs(options.method),
    });
  }
  return { layers, skipped };
}

function isLayer({ domain, opType }: Node): boolean {
  return domain === '' && ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'].includes(opType);
}

/** Whether the method makes activations signs (or, dorefa, 0 and 1). */
export function signsInputs(method: SignMethod): boolean {
  return method === 'xnor' || method === 'dorefa' || method === 'bireal';
}

function obstacle(node: Node, method: SignMethod, isNormalized: boolean): string | undefined {
  if (node.opType === 'Gemm' && (node.float('alpha', 1) !== 1 || node.float('beta', 1) !== 1)) {
    return 'a Gemm with alpha or beta other than 1 is left in float';
  }
  if (node.opType === 'Gemm' && node.int('transA', 0) !== 0) return 'a Gemm with transA is left in float';
  if (method === 'binaryconnect' && !isNormalized) {
    return 'weights of -1 and 1 need a BatchNormalization behind the layer that is trained; method bwn has a scale of its own';
  }
  if (!signsInputs(method)) return undefined;
  if (node.opType === 'ConvTranspose')
    return 'inputs of a ConvTranspose are not made signs; method bwn does its weights';
  if (node.opType === 'Conv' && node.int('group', 1) !== 1) {
    return 'inputs of a grouped convolution are not made signs; method bwn does its weights';
  }
  return undefined;
}
